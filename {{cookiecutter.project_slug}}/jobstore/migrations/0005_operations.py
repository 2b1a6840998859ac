"""Operations: who did what, reasons of pauses, what operators edited, arguments of single runs."""

import jobstore.models
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobstore", "0004_declared_in"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="djangojob",
            options={
                "base_manager_name": "all_objects",
                "ordering": ("next_run_time",),
                "permissions": (
                    ("run_djangojob", "Can ask for a run of a job"),
                    ("pause_djangojob", "Can pause and resume a job"),
                    ("cancel_djangojob", "Can cancel runs of a job"),
                    ("retire_djangojob", "Can take a job out of service"),
                ),
                "verbose_name": "job",
            },
        ),
        migrations.AddField(
            model_name="djangojob",
            name="edited",
            field=models.CharField(db_default="", default="", editable=False, max_length=500),
        ),
        migrations.AddField(
            model_name="djangojob",
            name="pause_reason",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Why the job is paused.",
                max_length=500,
            ),
        ),
        migrations.AddField(
            model_name="djangojobexecution",
            name="arguments",
            field=models.TextField(db_default="", default="", editable=False),
        ),
        migrations.AddField(
            model_name="djangojobexecution",
            name="arguments_state",
            field=models.BinaryField(null=True),
        ),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(db_index=True)),
                ("job_id", jobstore.models.IdField(max_length=255, verbose_name="job")),
                ("run_id", models.BigIntegerField(null=True, verbose_name="run")),
                ("verb", models.CharField(max_length=20)),
                ("who", models.CharField(default="", max_length=150)),
                ("user_id", models.CharField(max_length=64, null=True, verbose_name="user's key")),
                (
                    "through",
                    models.CharField(
                        choices=[("admin", "admin"), ("command", "command"), ("code", "code")],
                        default="code",
                        max_length=10,
                    ),
                ),
                ("before", jobstore.models.JSONTextField(default=dict)),
                ("after", jobstore.models.JSONTextField(default=dict)),
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit entries",
                "ordering": ("-at", "-id"),
                "indexes": [models.Index(fields=["job_id", "at"], name="jobstore_audit_job")],
            },
        ),
    ]
