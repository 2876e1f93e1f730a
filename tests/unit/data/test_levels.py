import pytest

from spine_monai.data.levels import level_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("L4", "L4"),
        (" l4 ", "L4"),
        ("L4-L5", "L4-L5"),
        ("L4/L5", "L4-L5"),
        ("T12 - L1", "T12-L1"),
        ("T11-T12", "T11-T12"),
        ("L5-S1", "L5-S1"),
        ("C7-T1", "C7-T1"),
    ],
)
def test_a_level_is_known_in_every_spelling(text, name):
    assert level_name(text) == name


@pytest.mark.parametrize("text", ["T13-L1", "L6", "L6-S1", "L4-S1"])
def test_transitional_spines_have_names(text):
    assert level_name(text) == text


@pytest.mark.parametrize("text", ["", "canal", "L7", "L4-L4", "L5-L4", "L1-L5", "L4-", "L1-L2-L3"])
def test_other_words_are_no_levels(text):
    assert level_name(text) is None
