"""Functions are offered with typed arguments; what people give for them is read, or refused."""

import datetime as dt
import decimal
import enum
import typing
from typing import Any, Literal

import pytest

from jobstore import registry
from jobstore.api.building import stand_in
from jobstore.declarations.offers import offer_of


class Colour(enum.Enum):
    """A choice."""

    RED = 1
    BLUE = 2


def report(
    customer: int,
    *,
    title: str = "Report",
    since: dt.date | None = None,
    until: dt.datetime | None = None,
    price: decimal.Decimal = decimal.Decimal(1),
    share: float = 0.5,
    draft: bool = False,
    colour: Colour = Colour.RED,
    size: Literal["small", "large"] = "small",
) -> None:
    """Write a report.

    More text.
    """


def untyped(anything, other=None):  # type: ignore[no-untyped-def]
    """Take anything."""


def of_many(*values: int) -> None:
    """Take many."""


def of_a_list(values: list[int]) -> None:
    """Take a list."""


OFFER = offer_of(report, "A report", {"customer": {"label": "Customer", "least": 1, "most": 9}})


def test_an_offer_tells_what_a_form_asks_for() -> None:
    kinds = {field.name: (field.kind, field.is_required) for field in OFFER.fields}
    assert kinds == {
        "customer": ("whole", True),
        "title": ("text", False),
        "since": ("date", False),
        "until": ("moment", False),
        "price": ("decimal", False),
        "share": ("number", False),
        "draft": ("switch", False),
        "colour": ("choice", False),
        "size": ("choice", False),
    }
    assert (OFFER.name, OFFER.doc, OFFER.fault) == ("A report", "Write a report.", "")
    assert OFFER.fields[0].label == "Customer"
    assert OFFER.fields[0].wanted == "a whole number from 1 to 9"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("customer", "5", 5),
        ("customer", 5, 5),
        ("title", "", ""),
        ("since", "2030-01-31", dt.date(2030, 1, 31)),
        ("since", "", None),
        ("until", "2030-01-31 08:00", dt.datetime(2030, 1, 31, 8)),  # noqa: DTZ001
        ("price", "12.50", decimal.Decimal("12.50")),
        ("share", "1e-3", 0.001),
        ("draft", "Yes", True),
        ("draft", False, False),
        ("colour", "BLUE", Colour.BLUE),
        ("colour", Colour.BLUE, Colour.BLUE),
        ("size", "large", "large"),
    ],
)
def test_what_people_give_becomes_a_value_and_back(name: str, text: Any, value: Any) -> None:
    found = OFFER.arguments({"customer": 1, name: text})[name]
    assert (type(found), found) == (type(value), value)
    field = next(one for one in OFFER.fields if one.name == name)
    assert field.value_of(field.text_of(value)) == value


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "customer is missing; it must be a whole number from 1 to 9"),
        ({"customer": "x"}, "customer is 'x'; it must be a whole number"),
        ({"customer": 10}, "customer is '10'; it must be a whole number from 1 to 9"),
        ({"customer": True}, "customer is 'True'"),
        ({"customer": 1.5}, "customer is '1.5'"),
        ({"customer": ""}, "customer is missing"),
        ({"customer": 1, "nobody": 1}, "takes customer, title, .* and not 'nobody'"),
        ({"customer": 1, "since": "soon"}, "since is 'soon'; it must be a date such as"),
        ({"customer": 1, "until": 5}, "until is '5'; it must be a moment"),
        ({"customer": 1, "price": "nan"}, "price is 'nan'"),
        ({"customer": 1, "share": "inf"}, "share is 'inf'"),
        ({"customer": 1, "draft": "perhaps"}, "draft is 'perhaps'; it must be true or false"),
        ({"customer": 1, "colour": "GREEN"}, "colour is 'GREEN'; it must be RED or BLUE"),
        ({"customer": 1, "size": "medium"}, "it must be small or large"),
        ({"customer": 1, "title": 5}, "title is '5'; it must be text"),
        ({"customer": 1, "title": None}, "title is missing"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        OFFER.arguments(values)


def test_a_secret_value_is_not_repeated_in_a_refusal() -> None:
    def log_in(api_key: int) -> None: ...

    with pytest.raises(ValueError, match="api_key is what was given; it must be a whole number"):
        offer_of(log_in).arguments({"api_key": "hunter2"})


@pytest.mark.parametrize(
    ("func", "hints", "text"),
    [
        (untyped, {}, "anything has no type that a form can ask for"),
        (of_many, {}, "give each argument a name"),
        (of_a_list, {}, "values has no type"),
        (report, {"nobody": "x"}, "a hint for 'nobody', which is not an argument"),
        (report, {"customer": 5}, "the hint for 'customer' is a text, or a dict"),
    ],
)
def test_what_cannot_be_offered_says_why(func: Any, hints: dict[str, Any], text: str) -> None:
    assert text in offer_of(func, hints=hints).fault


class Nothing(enum.Enum):
    """No choice."""


class Unprintable(list[int]):
    """A value whose methods fail."""

    __hash__ = None

    def __repr__(self) -> str:
        raise RuntimeError("no text")


def with_type(kind: Any, default: Any = ...) -> Any:
    """Return a function with one argument of a type, and a default if one is given."""

    def offered(value: Any) -> None: ...

    def defaulted(value: Any = default) -> None: ...

    func = offered if default is ... else defaulted
    func.__annotations__["value"] = kind
    return func


@pytest.mark.parametrize(
    ("func", "text"),
    [
        (with_type(int, "x"), "value has the default 'x', which must be a whole number"),
        (with_type(int, Unprintable()), "which must be a whole number"),
        (with_type(int, True), "the default 'True', which must be a whole number"),
        (with_type(int, 10**5000), "which must be a whole number"),
        (with_type(float, float("nan")), "the default 'nan', which must be a number"),
        (with_type(bool, 2), "must be true or false"),
        (with_type(Colour, 3), "must be RED or BLUE"),
        (with_type(Literal["x", "y"], "z"), "must be x or y"),
        (with_type(dt.date, "2030-02-31"), "must be a date"),
        (with_type(Literal[1, "1"]), "value: each choice needs a text of its own"),
        (with_type(Literal["", "x"]), "each choice needs a text of its own"),
        (with_type(Literal[None]), "nothing to choose from"),
        (with_type(Nothing), "nothing to choose from"),
        (with_type("Unknown"), "its annotations cannot be read"),
        (with_type(dict[str, int]), "value has no type"),
        (with_type(int | str), "value has no type"),
        (with_type(bytes), "value has no type"),
        (with_type(dt.timedelta), "value has no type"),
    ],
)
def test_an_argument_that_no_form_could_ask_for_says_why(func: Any, text: str) -> None:
    assert text in offer_of(func).fault


def test_a_secret_default_is_not_told() -> None:
    def log_in(password: int = "hunter2") -> None: ...  # type: ignore[assignment] # noqa: S107

    assert "hunter2" not in offer_of(log_in).fault
    assert "password has a default, which must be" in offer_of(log_in).fault


@pytest.mark.parametrize(
    ("func", "hint", "text"),
    [
        (with_type(int), {"least": "1"}, "are numbers"),
        (with_type(int), {"least": 5, "most": 1}, "the smaller one first"),
        (with_type(int), {"most": float("nan")}, "are numbers"),
        (with_type(int, 7), {"most": 5}, "the default '7', which must be a whole number"),
        (with_type(str), {"least": 1}, "only numbers have least and most"),
        (with_type(int), {"label": 5}, "the label of 'value' is a text"),
        (with_type(int), {"help": None}, "the help of 'value' is a text"),
        (with_type(int), {"min": 1}, "a dict of label, help, least, most"),
        (with_type(int), ["x"], "a dict of label, help, least, most"),
    ],
)
def test_a_hint_that_makes_no_sense_says_why(func: Any, hint: Any, text: str) -> None:
    assert text in offer_of(func, hints={"value": hint}).fault


@pytest.mark.parametrize("name", [5, "", "  ", ["x"]])
def test_a_name_that_nobody_could_read_says_why(name: Any) -> None:
    assert "its name is a text" in offer_of(report, name).fault


def test_types_that_only_type_checkers_know_may_be_returned() -> None:
    offered = with_type(typing.NewType("Key", int), None)
    offered.__annotations__["return"] = "Unknown"
    [field] = offer_of(offered).fields
    assert (field.kind, field.is_optional, field.value_of(None)) == ("whole", True, None)


@pytest.mark.usefixtures("nothing_declared")
def test_offered_and_declared_functions_can_be_chosen_and_no_others() -> None:
    registry.schedulable(report)
    registry.scheduled("interval", hours=1)(untyped)
    key = f"{__name__}.report"
    assert list(registry.offers()) == [key, f"{__name__}.untyped"]
    assert registry.offers()[key].func is report


@pytest.mark.usefixtures("nothing_declared")
def test_a_wrong_offer_is_told_and_stops_no_job() -> None:
    registry.schedulable(name="Anything")(untyped)
    registry.scheduled("interval", hours=1, id="job")(report_daily)
    registry.schedulable()(lambda: None)
    found = registry.collect(stand_in())
    assert list(found.jobs) == ["job"]
    texts = [problem.text for problem in found.problems]
    assert "is not offered: anything has no type" in texts[0]
    assert "lambdas and nested functions" in texts[1]
    assert all(problem.place for problem in found.problems)
    assert list(registry.offers()) == [f"{__name__}.report_daily"]


def report_daily() -> None:
    """Take nothing."""
