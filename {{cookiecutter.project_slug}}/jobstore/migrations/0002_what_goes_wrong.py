"""What people do wrong is stored beside what they meant, so that pages and commands can tell."""

import jobstore.models
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobstore", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="DeclarationProblem",
            fields=[
                (
                    "subject",
                    jobstore.models.IdField(max_length=255, primary_key=True, serialize=False),
                ),
                ("place", models.CharField(default="", help_text="File and line.", max_length=500)),
                ("text", models.TextField()),
                (
                    "is_fatal",
                    models.BooleanField(
                        default=True,
                        help_text="Whether the declaration is left out, or only questionable.",
                    ),
                ),
                ("noticed_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "problem of a declaration",
                "verbose_name_plural": "problems of declarations",
                "ordering": ("subject",),
            },
        ),
        migrations.AddField(
            model_name="djangojobexecution",
            name="last_run_time",
            field=models.DateTimeField(
                editable=False,
                help_text="The last of the scheduled times, if there are more.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="djangojobexecution",
            name="note",
            field=models.TextField(
                db_default="",
                default="",
                editable=False,
                help_text="What the job left behind, such as an open transaction, and what became of it.",
            ),
        ),
        migrations.AddField(
            model_name="djangojobexecution",
            name="times",
            field=models.PositiveIntegerField(db_default=1, default=1, editable=False),
        ),
        migrations.AddField(
            model_name="schedulerinstance",
            name="problem",
            field=models.TextField(
                db_default="",
                default="",
                help_text="Why this process cannot run jobs, although nothing else keeps it.",
            ),
        ),
        migrations.AlterField(
            model_name="djangojobexecution",
            name="status",
            field=models.CharField(
                choices=[
                    ("Requested", "Requested"),
                    ("Started execution", "Started execution"),
                    ("Executed", "Executed"),
                    ("Missed!", "Missed!"),
                    ("Max instances!", "Max instances!"),
                    ("Error!", "Error!"),
                    ("Lost!", "Lost!"),
                    ("Cancelled", "Cancelled"),
                ],
                max_length=50,
            ),
        ),
        migrations.AlterField(
            model_name="schedulerinstance",
            name="role",
            field=models.CharField(
                choices=[
                    ("starting", "starting"),
                    ("active", "active"),
                    ("standby", "standby"),
                    ("surplus", "surplus"),
                    ("draining", "draining"),
                    ("unfit", "unfit"),
                    ("stopped", "stopped"),
                    ("lost", "lost"),
                ],
                default="starting",
                max_length=10,
            ),
        ),
    ]
