"""HTML and SVG as text that is safe by construction: whatever is not markup is escaped."""

from html import escape

Attribute = str | int | float | bool | None
VOID = ("br", "img", "input", "meta")  # these have neither children nor an end tag


class Markup(str):
    """Text that is markup already, and is not escaped again."""

    __slots__ = ()


def element(tag: str, /, *children: str, **attributes: Attribute) -> Markup:
    """Return an element with its children; plain text among them is escaped.

    Args:
        tag: name of the element.
        *children: ``Markup`` is taken as it is, other text is escaped.
        **attributes: ``class_`` stands for ``class`` and ``data_x`` for ``data-x``; ``None`` and
            ``False`` leave an attribute out, ``True`` gives it no value; floats are rounded to two
            digits.
    """
    opening = "".join(map(_attribute, attributes, attributes.values()))
    if tag in VOID:
        return Markup(f"<{tag}{opening}>")
    return Markup(f"<{tag}{opening}>{joined(*children)}</{tag}>")


def joined(*children: str) -> Markup:
    """Return the children one after the other; plain text among them is escaped."""
    return Markup("".join(c if isinstance(c, Markup) else escape(c) for c in children))


def _attribute(name: str, value: Attribute) -> str:
    key = name.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {key}"
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f' {key}="{escape(text)}"'
