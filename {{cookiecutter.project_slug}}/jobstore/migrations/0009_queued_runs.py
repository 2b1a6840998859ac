"""Runs that wait for workers outside of the scheduler, and these workers."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobstore', '0008_attempts_and_timeouts'),
    ]

    operations = [
        migrations.AddField(
            model_name='djangojob',
            name='overlap',
            field=models.CharField(choices=[('skip', 'skip the time'), ('queue', 'wait for its end'), ('cancel_running', 'cancel it, and wait for its end')], db_default='skip', default='skip', max_length=20, verbose_name='if the run before goes on'),
        ),
        migrations.AddField(
            model_name='djangojob',
            name='catch_up',
            field=models.CharField(blank=True, db_default='', default='', max_length=10, verbose_name='of times that passed'),
        ),
        migrations.AddField(
            model_name='djangojob',
            name='queue',
            field=models.CharField(blank=True, db_default='', default='', help_text="Where its executor sends runs; empty for the executor's own.", max_length=100, verbose_name='queue'),
        ),
        migrations.AddField(
            model_name='djangojobexecution',
            name='publications',
            field=models.PositiveIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name='djangojobexecution',
            name='published_at',
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AlterField(
            model_name='djangojobexecution',
            name='status',
            field=models.CharField(choices=[('Requested', 'Requested'), ('Queued', 'Queued'), ('Started execution', 'Started execution'), ('Executed', 'Executed'), ('Missed!', 'Missed!'), ('Max instances!', 'Max instances!'), ('Error!', 'Error!'), ('Timed out!', 'Timed out!'), ('Lost!', 'Lost!'), ('Cancelled', 'Cancelled')], max_length=50),
        ),
        migrations.AlterField(
            model_name='schedulerinstance',
            name='role',
            field=models.CharField(choices=[('starting', 'starting'), ('active', 'active'), ('standby', 'standby'), ('surplus', 'surplus'), ('draining', 'draining'), ('unfit', 'unfit'), ('worker', 'worker'), ('stopped', 'stopped'), ('lost', 'lost')], default='starting', max_length=10, verbose_name='role'),
        ),
    ]
