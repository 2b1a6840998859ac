"""A run tells how far it has come. Every database adds columns that may be NULL at once."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobstore", "0005_operations"),
    ]

    operations = [
        migrations.AddField(
            model_name="djangojobexecution",
            name="progress_done",
            field=models.FloatField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="djangojobexecution",
            name="progress_total",
            field=models.FloatField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="djangojobexecution",
            name="progress_text",
            field=models.CharField(editable=False, max_length=200, null=True),
        ),
    ]
