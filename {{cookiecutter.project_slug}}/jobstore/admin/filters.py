"""The filters of the lists: forms whose values are part of the address, so that it can be shared.

If a value is wrong, the page says so and shows no rows, never all of them.
"""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar, Self

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import Case, DurationField, ExpressionWrapper, F, Q, When
from django.db.models.functions import Coalesce, Lower
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from jobstore import api
from jobstore.admin.display import moment
from jobstore.models import DjangoJobExecution
from jobstore.util import get_django_internal_datetime

Run = DjangoJobExecution

# Years that every database and every zone's offset can handle.
FIRST_YEAR, LAST_YEAR = 1900, 9000
# Seconds: about thirty years.
LONGEST = 1_000_000_000
LONGEST_TEXT = 200


@dataclasses.dataclass(frozen=True)
class Chip:
    """A filter that is set, in words, and the query string without it."""

    text: str
    without: str
    is_wrong: bool = False


class PlainText(forms.CharField):
    """A text that every database accepts."""

    def __init__(self, **options: Any) -> None:
        options = {"required": False, "max_length": LONGEST_TEXT} | options
        super().__init__(**options)

    def clean(self, value: Any) -> str:
        """Return the text; refuse lone surrogates, which cannot be encoded."""
        text = str(super().clean(value))
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValidationError(_("This is no text.")) from None
        return text


class MomentField(forms.Field):
    """A time in the zone of the page, or with an offset of its own.

    In the hour that is repeated when clocks are set back, it takes the time that shows more rows.
    """

    widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"})

    def __init__(self, *, is_end: bool = False, **options: Any) -> None:
        self.fold = int(is_end)
        super().__init__(required=False, **options)

    def to_python(self, value: Any) -> dt.datetime | None:
        """Return the time as Django stores it."""
        text = str(value or "").strip()
        if not text:
            return None
        when = parsed(text)
        if when is None or not FIRST_YEAR <= when.year <= LAST_YEAR:
            sentence = _("%(text)s is no time. Write it like 2026-11-26T14:30.")
            raise ValidationError(sentence % {"text": shortened(text)})
        if timezone.is_naive(when) and settings.USE_TZ:
            when = when.replace(tzinfo=timezone.get_current_timezone(), fold=self.fold)
        return get_django_internal_datetime(when)


class SecondsField(forms.FloatField):
    """A length in seconds."""

    widget = forms.NumberInput(attrs={"min": "0", "step": "any"})
    default_error_messages: ClassVar[dict[str, Any]] = {
        "invalid": gettext_lazy("Write a number of seconds."),
        "min_value": gettext_lazy("Write a number of seconds, 0 or more."),
        "max_value": gettext_lazy("Write a smaller number of seconds."),
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, **options)
        for limit in (MinValueValidator(0), MaxValueValidator(LONGEST)):
            self.validators.append(limit)


class FilterForm(forms.Form):
    """Filters of a list. Subclasses name other parameters that mean the same in `ALIASES`."""

    use_required_attribute = False
    ALIASES: ClassVar[dict[str, str]] = {}
    # The fields that are shown first; the others are folded away until one of them is used.
    FIRST: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, query: QueryDict) -> Self:
        """Return the form as an address fills it in."""
        data = QueryDict(mutable=True)
        for name, values in query.lists():
            known = cls.ALIASES.get(name, name)
            if known in cls.base_fields and (given := [one for one in values if one != ""]):
                field = cls.base_fields[known]
                is_time = isinstance(field, MomentField)
                data.setlistdefault(known).extend(map(_for_input, given) if is_time else given)
        form = cls(data, label_suffix="")
        form.query = query
        return form

    query: QueryDict
    data: QueryDict

    def range(self) -> Q:
        """Return the conditions that an index answers, if the filters are valid."""
        raise NotImplementedError

    @classmethod
    def names(cls) -> set[str]:
        """Return the names of the parameters."""
        return {*cls.base_fields, *cls.ALIASES}

    @property
    def is_used(self) -> bool:
        """Whether any filter is set."""
        return bool(self.data)

    @property
    def has_blanks(self) -> bool:
        """Whether the address has empty filters, as a submitted form has."""
        return any(
            name in self.names() and "" in values and not any(values)
            for name, values in self.query.lists()
        )

    def without(self, *names: str, value: str | None = None) -> str:
        """Return the query string without some filters, or without one of their values."""
        query = self.query.copy()
        for name in list(query):
            if self.ALIASES.get(name, name) in names:
                kept = [one for one in query.getlist(name) if value is not None and one != value]
                query.setlist(name, kept)
        query.pop("p", None)
        for name in [name for name in query if not any(query.getlist(name))]:
            del query[name]
        return f"?{query.urlencode()}"

    def with_(self, **values: str) -> str:
        """Return the query string with other values of some filters."""
        query = QueryDict(self.without(*values)[1:], mutable=True)
        for name, value in values.items():
            query[name] = value
        return f"?{query.urlencode()}"

    @property
    def without_blanks(self) -> str:
        """The query string without empty filters, for sharing."""
        query = self.query.copy()
        for name in list(query):
            if name in self.names() and not (kept := [one for one in query.getlist(name) if one]):
                del query[name]
            elif name in self.names():
                query.setlist(name, kept)
        return f"?{query.urlencode()}"

    @property
    def without_all(self) -> str:
        """The query string without any filter."""
        return self.without(*self.base_fields)

    @property
    def own_query(self) -> str:
        """The query string with these filters and nothing else."""
        query = self.query.copy()
        for name in [name for name in query if name not in self.names()]:
            del query[name]
        return f"?{query.urlencode()}"

    @property
    def rest(self) -> list[tuple[str, str]]:
        """Parameters that the form must keep: the order of the list."""
        order = self.query.get("o")
        return [("o", str(order))] if order else []

    @property
    def first_fields(self) -> list[forms.BoundField]:
        """The fields that are shown first."""
        return [self[name] for name in self.FIRST]

    @property
    def more_fields(self) -> list[forms.BoundField]:
        """The fields that are folded away."""
        return [self[name] for name in self.fields if name not in self.FIRST]

    @property
    def is_unfolded(self) -> bool:
        """Whether one of the fields that are folded away is used."""
        return any(field.name in self.data for field in self.more_fields)

    @property
    def mistakes(self) -> list[str]:
        """The mistakes, one sentence for each field."""
        return [
            f"{self[name].label}: {error}"
            for name, errors in self.errors.items()
            for error in errors
        ]

    def chips(self) -> Iterator[Chip]:
        """Yield the filters that are set."""
        for name in self.fields:
            for given in dict.fromkeys(self.data.getlist(name)) if self.is_used else ():
                several = isinstance(self.fields[name], forms.MultipleChoiceField)
                query = self.without(name, value=given if several else None)
                yield Chip(self._in_words(name, given), query, name in self.errors)

    def _in_words(self, name: str, given: str) -> str:
        field, label = self.fields[name], self[name].label
        value = self.cleaned_data.get(name) if not self.errors.get(name) else None
        if isinstance(field, MomentField) and value is not None:
            return f"{label} {moment(value)}"
        if isinstance(field, SecondsField) and value is not None:
            return f"{label} {number_format(f'{value:g}')} s"
        choices = {str(key): text for key, text in getattr(field, "choices", ())}
        return f"{label}: {choices.get(given) or shortened(given)}"


def shortened(text: str) -> str:
    """Return the beginning of a text that somebody wrote."""
    # Lone surrogates would break the page that shows them.
    text = text.encode(errors="replace").decode()
    return text if len(text) <= 60 else f"{text[:60]}…"


def parsed(text: str) -> dt.datetime | None:
    """Return the time of an ISO 8601 text, midnight for a date; None for any other text."""
    with contextlib.suppress(ValueError, OverflowError):
        if (when := parse_datetime(text)) is not None:
            # An offset may lead out of the calendar.
            return when if when.utcoffset() is None else when.astimezone(dt.UTC)
        if (day := parse_date(text)) is not None:
            return dt.datetime.combine(day, dt.time())
    return None


def _for_input(text: str) -> str:
    """Return a time as the browser's field shows it: in the zone of the page, without offset."""
    when = parsed(text.strip())
    if when is None or not FIRST_YEAR < when.year < LAST_YEAR:
        return text
    if timezone.is_aware(when):
        when = timezone.make_naive(when, timezone.get_current_timezone())
    return when.isoformat(timespec="milliseconds" if when.microsecond else "seconds")


def for_address(when: dt.datetime) -> str:
    """Return a time for a filter, rounded up to the millisecond."""
    later = when + dt.timedelta(microseconds=-when.microsecond % 1000)
    return later.isoformat(timespec="milliseconds")


class RunFilters(FilterForm):
    """Filters of runs."""

    ALIASES: ClassVar[dict[str, str]] = {
        "status__exact": "status",
        "job__id__exact": "job",
        "run_time__gte": "scheduled_from",
        "run_time__lt": "scheduled_to",
        "q": "text",
    }
    FIRST: ClassVar[tuple[str, ...]] = ("job", "text", "scheduled_from", "scheduled_to", "status")

    job = PlainText(
        label=gettext_lazy("Job"),
        max_length=255,
        strip=False,
        widget=forms.TextInput(
            attrs={"list": "jobstore-jobs", "placeholder": gettext_lazy("its whole id")}
        ),
    )
    text = PlainText(
        label=gettext_lazy("Text"),
        widget=forms.TextInput(
            attrs={"placeholder": gettext_lazy("of the job's id, exception or result")}
        ),
    )
    scheduled_from = MomentField(label=gettext_lazy("Scheduled from"))
    scheduled_to = MomentField(label=gettext_lazy("Scheduled before"), is_end=True)
    status = forms.MultipleChoiceField(
        label=gettext_lazy("Status"),
        required=False,
        choices=Run.STATUS_CHOICES,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": gettext_lazy("There is no such status.")},
    )
    started_from = MomentField(label=gettext_lazy("Started from"))
    started_to = MomentField(label=gettext_lazy("Started before"), is_end=True)
    delay_over = SecondsField(
        label=gettext_lazy("Start delay over"), help_text=gettext_lazy("seconds")
    )
    duration_over = SecondsField(
        label=gettext_lazy("Duration over"), help_text=gettext_lazy("seconds; so far, if it runs")
    )
    asked_by = PlainText(
        label=gettext_lazy("Asked for by"), help_text=gettext_lazy("a part of the name")
    )
    exception = PlainText(
        label=gettext_lazy("Exception type"), help_text=gettext_lazy("a part of the name")
    )

    def clean(self) -> dict[str, Any]:
        """Refuse a period that ends before it begins: no run can be in it."""
        values = super().clean() or self.cleaned_data
        for name in ("scheduled", "started"):
            begin, end = values.get(f"{name}_from"), values.get(f"{name}_to")
            if begin and end and end < begin:
                self.add_error(f"{name}_to", _("It is before the begin; change one of both."))
        return values

    def range(self) -> Q:
        """Return the conditions that the index of a job's runs, or of all runs, answers."""
        found = Q()
        if job := self.cleaned_data["job"]:
            found &= Q(job=job)
        return found & between("run_time", self.cleaned_data, "scheduled")

    def conditions(self, now: dt.datetime) -> Q:
        """Return the conditions that must be compared in each run.

        :param now: the database's time, for runs that are running.
        """
        given = self.cleaned_data
        found = between("began", given, "started")
        if given["status"]:
            found &= Q(status__in=given["status"])
        if (delay := given["delay_over"]) is not None:
            found &= Q(delay__gt=dt.timedelta(seconds=delay))
        if (seconds := given["duration_over"]) is not None:
            is_long = Q(duration__gt=Decimal(str(seconds)))
            since = now - dt.timedelta(seconds=seconds)
            found &= is_long | Q(status=Run.RUNNING, began__lt=since)
        if given["asked_by"]:
            found &= Q(requested_by__icontains=given["asked_by"])
        if given["exception"]:
            found &= Q(exception_type__icontains=given["exception"])
        if text := given["text"]:
            columns = ("exception_type", "exception", "result")
            in_one = Q(*((f"{column}__icontains", text) for column in columns), _connector=Q.OR)
            found &= in_one | Q(lowered_id__contains=text.lower())
        return found


# A run that goes on has only the time at which it was claimed.
BEGAN = Case(
    When(status=Run.RUNNING, then=Coalesce("started_at", "claimed_at")), default=F("started_at")
)
# Expressions that conditions compare beside columns. Ids are compared character by character, on
# MariaDB even if upper and lower case are to be equal.
COMPARED = {
    "began": BEGAN,
    "delay": ExpressionWrapper(BEGAN - F("run_time"), output_field=DurationField()),
    "lowered_id": Lower("job_id"),
}


def between(column: str, given: dict[str, Any], name: str) -> Q:
    """Return that a column lies between the two fields of a name, as far as they are filled in."""
    found = Q()
    if since := given[f"{name}_from"]:
        found &= Q(**{f"{column}__gte": since})
    if until := given[f"{name}_to"]:
        found &= Q(**{f"{column}__lt": until})
    return found


class JobFilters(FilterForm):
    """Filters of jobs; Django's own search answers `q`."""

    FIRST: ClassVar[tuple[str, ...]] = ("q", "state", "next_before")

    q = PlainText(
        label=gettext_lazy("Text"),
        strip=False,
        widget=forms.TextInput(attrs={"placeholder": gettext_lazy("of the id, name or function")}),
    )
    state = forms.ChoiceField(
        label=gettext_lazy("State"),
        required=False,
        choices=[
            ("", gettext_lazy("all in service")),
            *((name, gettext_lazy(name)) for name in api.STATES),
        ],
        error_messages={"invalid_choice": gettext_lazy("There is no such state.")},
    )
    next_before = MomentField(label=gettext_lazy("Next run before"), is_end=True)

    def range(self) -> Q:
        """Return the conditions for the jobs."""
        state = self.cleaned_data["state"]
        found = api.STATES[state] if state else api.IN_SERVICE
        if before := self.cleaned_data["next_before"]:
            # The time of a job that does not run is not its next run.
            found &= Q(next_run_time__lt=before, quarantined_at=None)
        return found
