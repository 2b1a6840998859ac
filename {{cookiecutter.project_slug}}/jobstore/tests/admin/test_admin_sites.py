"""The pages work on an admin site of the project's own, beside Django's or instead of it."""

import re
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.tests import sites
from jobstore.tests.admin.test_admin import hold_lease, ran, store

pytestmark = pytest.mark.django_db

SITES = [sites.beside, sites.alone]


def pages(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer
    return answer.content.decode()


@pytest.fixture(params=SITES, ids=lambda module: module.__name__)
def site(request: Any, settings: Settings) -> None:
    settings.ROOT_URLCONF = request.param
    store("a/b c")
    ran("a/b c", DjangoJobExecution.SUCCESS)
    hold_lease()


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    "page",
    [
        *("", "jobstore/", "jobstore/overview/"),
        *("jobstore/djangojob/", "jobstore/djangojobexecution/", "jobstore/schedulerinstance/"),
        "jobstore/auditentry/",
    ],
)
def test_every_link_of_a_page_stays_on_its_site(admin_client: Client, page: str) -> None:
    todo, seen = [f"/ops/{page}"], set()
    while todo:
        path = todo.pop()
        seen.add(path)
        text = pages(admin_client, path)
        links = set(re.findall(r'(?:href|action|formaction)="(/[^"?#]*)', text))
        assert not [link for link in links if link.startswith("/admin/")], path
        todo += [
            link
            for link in links - seen
            if link.startswith("/ops/jobstore/")
            and not link.endswith(("/act/", "/history/", "/all/cancel/", "/all/export/"))
        ]
    assert [path for path in seen if path.endswith("/change/")] or not page


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("action", ["pause_selected_jobs", "run_selected_jobs"])
def test_buttons_lead_back_to_the_same_site(
    admin_client: Client, settings: Settings, action: str
) -> None:
    settings.APSCHEDULER_RUN_NOW_TIMEOUT = 0.0
    text = pages(admin_client, "/ops/jobstore/djangojob/")
    [page] = set(re.findall(r'href="(/ops/jobstore/djangojob/[^"]*/change/)"', text))
    act = page.replace("/change/", "/act/")
    answer = admin_client.post(act, {"action": action})
    assert answer.status_code == 302
    assert answer["Location"] == page
    told = pages(admin_client, page)
    assert "/admin/" not in re.sub(r"/static/[^\"']*", "", told)


@pytest.mark.usefixtures("site")
def test_retiring_asks_on_the_same_site(admin_client: Client) -> None:
    form = {"action": "retire_selected_jobs", "_selected_action": ["a/b c"]}
    text = admin_client.post("/ops/jobstore/djangojob/", form).content.decode()
    assert 'href="/ops/jobstore/djangojob/"' in text
    answer = admin_client.post("/ops/jobstore/djangojob/", form | {"post": "yes"})
    assert answer["Location"].startswith("/ops/")
    assert not DjangoJob.objects.exists()


def test_a_site_may_show_some_of_the_pages(admin_client: Client, settings: Settings) -> None:
    settings.ROOT_URLCONF = sites.partly
    store()
    run = ran("job", DjangoJobExecution.ERROR)
    assert "job" in pages(admin_client, "/ops/jobstore/djangojobexecution/")
    pages(admin_client, f"/ops/jobstore/djangojobexecution/{run.pk}/change/")
