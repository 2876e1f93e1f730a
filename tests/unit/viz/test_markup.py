"""Markup that cannot be broken out of; the oracle is Python's own HTML parser."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spine_monai.viz.markup import Markup, element, joined


class Seen(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


@given(st.text(st.sampled_from("<>&;\"'/=!-#ab 1é\n\u2028")))
def test_any_text_stays_text(text):
    seen = Seen(element("p", text, title=text))
    assert seen.tags == ["p"]
    assert seen.text == text
    assert seen.attributes == [("title", text)]


def test_markup_is_not_escaped_again():
    inner = element("b", "a < b")
    assert element("p", inner, " & c") == "<p><b>a &lt; b</b> &amp; c</p>"
    assert joined(inner, "<") == "<b>a &lt; b</b>&lt;"
    assert isinstance(joined("<"), Markup)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"class_": "a b"}, '<i class="a b"></i>'),
        ({"data_x": 3, "aria_label": "y"}, '<i data-x="3" aria-label="y"></i>'),
        ({"viewBox": "0 0 1 2"}, '<i viewBox="0 0 1 2"></i>'),
        ({"cx": 1.23456, "cy": 2.0, "r": -0.5}, '<i cx="1.23" cy="2" r="-0.5"></i>'),
        ({"hidden": True, "open": False, "id": None}, "<i hidden></i>"),
    ],
)
def test_attributes_are_named_as_in_html(attributes, expected):
    assert element("i", **attributes) == expected


def test_void_elements_have_no_end_tag():
    assert element("img", alt="x") == '<img alt="x">'
