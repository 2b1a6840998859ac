"""A scheduler says that jobs wait because its workers are busy, which is no fault of it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobstore", "0002_what_goes_wrong"),
    ]

    operations = [
        migrations.AddField(
            model_name="schedulerinstance",
            name="saturated",
            field=models.TextField(
                db_default="",
                default="",
                editable=False,
                help_text="Executors whose workers are all busy while jobs wait for them, as JSON.",
            ),
        ),
    ]
