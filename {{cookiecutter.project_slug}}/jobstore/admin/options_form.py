"""The options of a job as a form, and the form for a new job's id and start."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from jobstore import conf
from jobstore.api.building import stand_in
from jobstore.models import DjangoJob
from jobstore.sentences import shown

NAMES = ("name", "executor", "max_instances", "coalesce", "misfire_grace_time", "on_lost")


class OptionsForm(forms.Form):
    """How a job runs."""

    name = forms.CharField(
        label=_("Name"),
        max_length=DjangoJob._meta.get_field("name").max_length,
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=_("What people call it; empty for the function's name."),
    )
    executor = forms.ChoiceField(label=_("Executor"), help_text=_("What runs it."))
    max_instances = forms.IntegerField(
        label=_("At the same time"),
        min_value=1,
        max_value=1_000,
        help_text=_("Runs of this job that may go on at once. More are skipped, and recorded so."),
    )
    coalesce = forms.BooleanField(
        label=_("Make up for missed times by one run"),
        required=False,
        help_text=_("Otherwise each time that was missed gets a run."),
    )
    misfire_grace_time = forms.IntegerField(
        label=_("May be late by"),
        required=False,
        min_value=1,
        max_value=conf.YEAR,
        help_text=_("Seconds; later ones are recorded as missed. Empty for any lateness."),
    )
    on_lost = forms.ChoiceField(
        label=_("If its process dies"),
        choices=DjangoJob.OnLost.choices,
        help_text=_("“rerun” starts it again, for jobs that may safely run twice."),
    )

    def __init__(self, data: Any = None, *, job: DjangoJob | None = None) -> None:
        """Begin with the options of a job, or with the defaults of a new one."""
        found: dict[str, Any] = {name: getattr(job, name) for name in NAMES} if job else {}
        default = {
            "executor": "default",
            "max_instances": 1,
            "coalesce": True,
            "misfire_grace_time": conf.get("SCHEDULER_MISFIRE_GRACE_SECONDS"),
            "on_lost": "record",
        }
        super().__init__(data, initial=found or default)
        names = {"default", *stand_in()._executors, *filter(None, [found.get("executor")])}
        executor: Any = self.fields["executor"]
        executor.choices = [(name, name) for name in sorted(names)]

    def changes(self) -> dict[str, Any]:
        """Return the changed options, as arguments of an operation."""
        found = {name: self.cleaned_data[name] for name in self.changed_data}
        if found.get("name") == "":
            del found["name"]
        return found

    def clean_name(self) -> str:
        """Refuse to remove a name, since there is no other name to fall back to."""
        name: str = self.cleaned_data["name"]
        if not name and self.initial.get("name"):
            raise forms.ValidationError(_("Write what it is called."))
        return name

    def place(self, error: Exception) -> None:
        """Show an operation's error about an option at its field."""
        text = str(error)
        self.add_error(next((name for name in NAMES if name in text), None), shown(error))


class NewJobForm(forms.Form):
    """What identifies a new job, and whether it runs at once."""

    id = forms.CharField(
        label=_("Id"),
        max_length=DjangoJob._meta.pk.max_length,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
        help_text=_("Identifies the job for ever, such as report-berlin."),
    )
    paused = forms.BooleanField(
        label=_("Paused at first"), required=False, help_text=_("It runs once somebody resumes it.")
    )
    reason = forms.CharField(
        label=_("Reason"),
        max_length=500,
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=_("Why it is paused; shown wherever the job is."),
    )

    def clean(self) -> dict[str, Any]:
        """Refuse a pause reason for a job that is not paused."""
        values = super().clean() or self.cleaned_data
        if values.get("reason") and not values.get("paused"):
            text = _("Only a paused job has a reason; empty it, or pause the job.")
            self.add_error("reason", text)
        return values
