"""Every address of the site. Probes (/health/…) are answered earlier, by middleware."""

from pathlib import Path

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

# The site's name has a file of its own, since it may hold any character.
SITE_NAME = Path(__file__).with_name("site_name.txt").read_text(encoding="utf-8").strip()
admin.site.site_header = admin.site.site_title = SITE_NAME

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
]
