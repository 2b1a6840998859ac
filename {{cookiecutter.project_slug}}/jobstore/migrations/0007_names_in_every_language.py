"""Names of tables and columns, as pages show them. Nothing changes in a database."""

import jobstore.models
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobstore', '0006_progress'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='djangojob',
            options={'base_manager_name': 'all_objects', 'ordering': ('next_run_time',), 'permissions': (('run_djangojob', 'Can ask for a run of a job'), ('pause_djangojob', 'Can pause and resume a job'), ('cancel_djangojob', 'Can cancel runs of a job'), ('retire_djangojob', 'Can take a job out of service')), 'verbose_name': 'job', 'verbose_name_plural': 'jobs'},
        ),
        migrations.AlterModelOptions(
            name='djangojobexecution',
            options={'ordering': ('-run_time',), 'verbose_name': 'run', 'verbose_name_plural': 'runs'},
        ),
        migrations.AlterModelOptions(
            name='schedulerinstance',
            options={'ordering': ('-started_at',), 'verbose_name': 'scheduler', 'verbose_name_plural': 'schedulers'},
        ),
        migrations.AlterField(
            model_name='djangojob',
            name='coalesce',
            field=models.BooleanField(default=True, verbose_name='coalesce'),
        ),
        migrations.AlterField(
            model_name='djangojob',
            name='executor',
            field=models.CharField(default='default', max_length=191, verbose_name='executor'),
        ),
        migrations.AlterField(
            model_name='djangojob',
            name='id',
            field=jobstore.models.IdField(max_length=255, primary_key=True, serialize=False, verbose_name='id'),
        ),
        migrations.AlterField(
            model_name='djangojob',
            name='max_instances',
            field=models.PositiveIntegerField(default=1, verbose_name='max instances'),
        ),
        migrations.AlterField(
            model_name='djangojob',
            name='name',
            field=models.CharField(default='', max_length=255, verbose_name='name'),
        ),
        migrations.AlterField(
            model_name='djangojob',
            name='trigger',
            field=models.CharField(default='', max_length=255, verbose_name='trigger'),
        ),
        migrations.AlterField(
            model_name='djangojobexecution',
            name='attempt',
            field=models.PositiveSmallIntegerField(default=1, editable=False, verbose_name='attempt'),
        ),
        migrations.AlterField(
            model_name='djangojobexecution',
            name='epoch',
            field=models.BigIntegerField(editable=False, null=True, verbose_name='epoch'),
        ),
        migrations.AlterField(
            model_name='djangojobexecution',
            name='exception_type',
            field=models.CharField(default='', editable=False, max_length=255, verbose_name='exception type'),
        ),
        migrations.AlterField(
            model_name='schedulerinstance',
            name='epoch',
            field=models.BigIntegerField(null=True, verbose_name='epoch'),
        ),
        migrations.AlterField(
            model_name='schedulerinstance',
            name='id',
            field=models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False, verbose_name='id'),
        ),
        migrations.AlterField(
            model_name='schedulerinstance',
            name='role',
            field=models.CharField(choices=[('starting', 'starting'), ('active', 'active'), ('standby', 'standby'), ('surplus', 'surplus'), ('draining', 'draining'), ('unfit', 'unfit'), ('stopped', 'stopped'), ('lost', 'lost')], default='starting', max_length=10, verbose_name='role'),
        ),
    ]
