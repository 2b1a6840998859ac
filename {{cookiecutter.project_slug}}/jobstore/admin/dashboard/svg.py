"""SVG as text: elements with attributes, all escaped. No styles and no scripts, only classes.

A strict Content-Security-Policy allows it, and it can be printed.
"""

from collections.abc import Mapping

from django.utils.html import conditional_escape, escape
from django.utils.safestring import SafeString, mark_safe

Attribute = str | float | int


def element(name: str, /, *content: SafeString | str, **attributes: Attribute) -> SafeString:
    """Return an element. `class_` is `class`; other names get dashes for underscores.

    Text is escaped, SafeString is not. Names such as `viewBox` stay as they are.
    """
    inside = "".join(conditional_escape(part) for part in content)
    text = "".join(f' {_name(key)}="{_value(value)}"' for key, value in attributes.items())
    return mark_safe(f"<{name}{text}>{inside}</{name}>")  # noqa: S308 - each part is escaped


def picture(
    size: tuple[float, float],
    *content: SafeString,
    title: str,
    description: str = "",
    stretched: bool = False,
    **attributes: Attribute,
) -> SafeString:
    """Return an SVG that screen readers read as one picture, with a name and a description.

    :param size: width and height in units of the drawing. The page decides how large it is shown.
    :param stretched: let it fill its box without keeping its proportions.
    """
    texts = [element("title", title)]
    if description:
        texts.append(element("desc", description))
    options: dict[str, Attribute] = {
        "role": "img",
        "viewBox": f"0 0 {number(size[0])} {number(size[1])}",
        **attributes,
    }
    if stretched:
        options["preserveAspectRatio"] = "none"
    return element("svg", *texts, *content, **options)


def path(shapes: list[str], class_: str) -> SafeString:
    """Return one path of many shapes, which is much shorter than an element for each."""
    return element("path", d="".join(shapes), class_=class_) if shapes else SafeString("")


def paths(shapes: Mapping[str, list[str]]) -> list[SafeString]:
    """Return a path for each class that has shapes."""
    return [path(some, class_) for class_, some in shapes.items() if some]


def number(value: float) -> str:
    """Return a number as short text, precise to a hundredth."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: Attribute) -> str:
    return number(value) if isinstance(value, float) else escape(str(value))
