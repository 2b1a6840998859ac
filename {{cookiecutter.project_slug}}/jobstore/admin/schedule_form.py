"""A schedule as a form: crontab text, cron fields, an interval, or one moment.

It finds mistakes in single fields. Whether the schedule fires, and how often, is checked by the
operation that would store it; `place` shows its error at the field that it concerns.
"""

from typing import Any

from apscheduler.triggers.cron import CronTrigger
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from jobstore.admin.schedule_fields import (
    UNITS,
    MomentField,
    ZoneSelect,
    fields_of,
    is_skipped,
    is_zone,
)
from jobstore.registry import crontab
from jobstore.sentences import shown
from jobstore.texts import flattened

KINDS = {
    "crontab": _("Crontab text"),
    "cron": _("Cron fields"),
    "interval": _("Interval"),
    "date": _("Once"),
}
CRON_FIELDS = tuple(CronTrigger.FIELD_NAMES)
# The fields of each kind, and the fields that only some kinds have.
FIELDS = {
    "crontab": ("crontab",),
    "cron": CRON_FIELDS,
    "interval": ("every", "unit"),
    "date": ("run_at",),
}
LIMITS = ("start_date", "end_date", "jitter")
WITH_LIMITS = ("cron", "interval")
LABELS = {
    "year": _("Year"),
    "month": _("Month"),
    "day": _("Day"),
    "week": _("Week"),
    "day_of_week": _("Day of week"),
    "hour": _("Hour"),
    "minute": _("Minute"),
    "second": _("Second"),
}
UNIT_NAMES = {
    "weeks": pgettext_lazy("unit", "weeks"),
    "days": pgettext_lazy("unit", "days"),
    "hours": pgettext_lazy("unit", "hours"),
    "minutes": pgettext_lazy("unit", "minutes"),
    "seconds": pgettext_lazy("unit", "seconds"),
}
EXAMPLES = {
    "year": "2030",
    "month": _("1-12 or jan-dec"),
    "day": "1-31, last, 2nd fri",
    "week": "1-53",
    "day_of_week": "mon-fri",
    "hour": "0-23, */2",
    "minute": "0-59, */15",
    "second": "0-59",
}


class ScheduleForm(forms.Form):
    """When a job runs."""

    kind = forms.ChoiceField(label=_("Kind"), choices=KINDS, widget=forms.RadioSelect)
    crontab = forms.CharField(
        label=_("Crontab line"),
        required=False,
        max_length=200,
        help_text=_(
            "Minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, "
            "@monthly. 30 3 * * 1-5 is 03:30 from Monday to Friday."
        ),
    )
    every = forms.FloatField(label=_("Every"), required=False, min_value=0.001, max_value=1e9)
    unit = forms.ChoiceField(
        label=_("Unit"),
        required=False,
        choices=[(name, UNIT_NAMES[name]) for name in reversed(UNITS)],
    )
    run_at = MomentField(label=_("At"), required=False)
    timezone = forms.CharField(
        label=_("Time zone"), widget=ZoneSelect, help_text=_("In which hours and dates are meant.")
    )
    start_date = MomentField(
        label=_("Not before"),
        required=False,
        help_text=_("The earliest time; empty for from now on."),
    )
    end_date = MomentField(label=_("Not after"), required=False, help_text=_("Empty for no end."))
    jitter = forms.IntegerField(
        label=_("Spread by"),
        required=False,
        min_value=1,
        max_value=86_400,
        help_text=_("Seconds: each run begins later by up to that, by chance. Empty for on time."),
    )

    def __init__(self, data: Any = None, *, trigger: Any = None) -> None:
        """Begin with the schedule of a trigger.

        :param data: what was filled in; None if nothing was yet.
        :param trigger: a stored one; None for a new job.
        """
        self.found = fields_of(trigger)
        super().__init__(data, initial=self.found)
        for name in CRON_FIELDS:
            self.fields[name] = forms.CharField(
                label=LABELS[name],
                required=False,
                max_length=200,
                widget=forms.TextInput(attrs={"placeholder": EXAMPLES[name]}),
            )
        self.arguments: tuple[Any, dict[str, Any]] = ("", {})

    @property
    def is_shown(self) -> bool:
        """Whether these fields can show the stored schedule."""
        return "kind" in self.found

    def groups(self) -> list[tuple[str, str, list[Any]]]:
        """Return each kind with its name and its fields."""
        return [(kind, str(KINDS[kind]), [self[name] for name in FIELDS[kind]]) for kind in KINDS]

    def limits(self) -> list[Any]:
        """Return the fields that cron fields and intervals share."""
        return [self[name] for name in LIMITS]

    def clean_timezone(self) -> str:
        """Refuse a name that is not in the list."""
        name: str = self.cleaned_data["timezone"]
        if not is_zone(name):
            sentence = gettext("%(name)r is none of the time zones; choose one of the list.")
            raise ValidationError(sentence % {"name": name})
        return name

    def clean(self) -> dict[str, Any]:
        """Make the arguments of a schedule, or show each mistake at its field."""
        values = super().clean() or self.cleaned_data
        kind = values.get("kind")
        if kind is None or self.errors:
            return values
        self._check_others(kind)
        if not self.errors:
            getattr(self, f"_clean_{kind}")(values)
        return values

    def _check_others(self, kind: str) -> None:
        """Refuse values in fields of other kinds, which would be ignored in silence."""
        changed = set(self.changed_data)
        others = {name for one in KINDS if one != kind for name in FIELDS[one]} & changed
        if others - {"unit"} and not changed & {"kind", *FIELDS[kind]}:
            other = next(one for one in KINDS if others & set(FIELDS[one]))
            text = gettext("You filled in “%(other)s”, but chose “%(chosen)s”. Choose one of both.")
            self.add_error("kind", text % {"other": KINDS[other], "chosen": KINDS[kind]})
        if kind not in WITH_LIMITS:
            for name in LIMITS:
                if self.cleaned_data.get(name) is not None and name in changed:
                    text = gettext(
                        "Only cron fields and intervals have this; empty it, or choose those."
                    )
                    self.add_error(name, text)

    def _clean_crontab(self, values: dict[str, Any]) -> None:
        text = values["crontab"]
        if not text:
            self.add_error("crontab", gettext("Write five fields, such as 30 3 * * 1-5."))
            return
        try:
            self.arguments = crontab(text, values["timezone"]), {}
        except ValueError as error:
            about = f"crontab({text!r}): "
            self.add_error("crontab", _sentence(shown(error).removeprefix(about)))

    def _clean_cron(self, values: dict[str, Any]) -> None:
        given = {name: values[name] for name in CRON_FIELDS if values.get(name)}
        if not given:
            self.add_error("hour", gettext("Fill in at least one field, such as hour 3."))
        for name, text in given.items():
            try:
                CronTrigger.FIELDS_MAP[name](name, text)
            except ValueError as error:
                self.add_error(name, _sentence(flattened(error)))
        self.arguments = "cron", given | self._limits(values)

    def _clean_interval(self, values: dict[str, Any]) -> None:
        number, unit = values.get("every"), values.get("unit")
        if number is None or not unit:
            text = gettext("Write how long, such as 15.")
            self.add_error("every" if number is None else "unit", text)
            return
        length = int(number) if number == int(number) else number
        self.arguments = "interval", {unit: length} | self._limits(values)

    def _clean_date(self, values: dict[str, Any]) -> None:
        moment = values.get("run_at")
        if moment is None:
            self.add_error("run_at", gettext("Choose a date and a time."))
            return
        if is_skipped(moment, values["timezone"]):
            text = gettext("%(time)s is not a time in %(zone)s: clocks are put forward past it.")
            self.add_error("run_at", text % {"time": moment, "zone": values["timezone"]})
        self.arguments = "date", {"run_date": moment, "timezone": values["timezone"]}

    def _limits(self, values: dict[str, Any]) -> dict[str, Any]:
        names = ("timezone", *LIMITS)
        return {name: values[name] for name in names if values.get(name) is not None}

    def place(self, error: Exception) -> None:
        """Show an operation's error about the schedule at the field that it concerns."""
        kind = self.cleaned_data.get("kind", "")
        names = FIELDS.get(kind, (None,))
        filled = [name for name in names if name and self.cleaned_data.get(name)]
        start = self.cleaned_data.get("start_date")
        end = self.cleaned_data.get("end_date")
        if start and end and end < start:
            filled = ["end_date"]
        self.add_error((filled or list(names))[0], shown(error))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
