"""A declared job knows the file that declares it: it stays while that file cannot be imported."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobstore", "0003_saturated"),
    ]

    operations = [
        migrations.AddField(
            model_name="djangojob",
            name="declared_in",
            field=models.CharField(
                db_default="",
                default="",
                editable=False,
                help_text="The declaring module.",
                max_length=255,
            ),
        ),
    ]
