"""Attempts, timeouts, and runs that somebody cancels while they run."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobstore', '0007_names_in_every_language'),
    ]

    operations = [
        migrations.AddField(
            model_name='djangojob',
            name='retries',
            field=models.PositiveSmallIntegerField(db_default=0, default=0, help_text='Further attempts at a run that failed.', verbose_name='retries'),
        ),
        migrations.AddField(
            model_name='djangojob',
            name='retry_delay',
            field=models.FloatField(db_default=10.0, default=10.0, help_text='Before the first retry; it doubles with each further one, up to an hour.', verbose_name='delay of a retry (s)'),
        ),
        migrations.AddField(
            model_name='djangojob',
            name='retry_on',
            field=models.CharField(blank=True, db_default='', default='', help_text='Exception types that are worth another attempt; empty for all.', max_length=500, verbose_name='retry on'),
        ),
        migrations.AddField(
            model_name='djangojob',
            name='timeout',
            field=models.FloatField(blank=True, help_text='How long a run may take; empty for as long as it needs.', null=True, verbose_name='timeout (s)'),
        ),
        migrations.AddField(
            model_name='djangojobexecution',
            name='attempt_of',
            field=models.BigIntegerField(editable=False, null=True, verbose_name='attempt at run'),
        ),
        migrations.AddField(
            model_name='djangojobexecution',
            name='cancel_requested_at',
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name='djangojobexecution',
            name='cancel_requested_by',
            field=models.CharField(editable=False, max_length=150, null=True),
        ),
        migrations.AddField(
            model_name='djangojobexecution',
            name='retry_time',
            field=models.DateTimeField(editable=False, null=True, verbose_name='next attempt'),
        ),
        migrations.AlterField(
            model_name='djangojobexecution',
            name='status',
            field=models.CharField(choices=[('Requested', 'Requested'), ('Started execution', 'Started execution'), ('Executed', 'Executed'), ('Missed!', 'Missed!'), ('Max instances!', 'Max instances!'), ('Error!', 'Error!'), ('Timed out!', 'Timed out!'), ('Lost!', 'Lost!'), ('Cancelled', 'Cancelled')], max_length=50),
        ),
    ]
