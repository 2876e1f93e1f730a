"""The profile is sound in itself, and the page that tells it is up to date."""

import sys
from pathlib import Path

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from spine_monai.deidentify.profile import ALWAYS_THERE, FORMS, OPTIONS, PROFILE, SET, Action
from spine_monai.deidentify.words import WORDS

ROOT = Path(__file__).parents[3]
VRS = {
    Action.NUMBER: {"IS", "DS", "US", "UL", "FD"},
    Action.WORD: {"CS", "SH", "LO"},
    Action.PATTERN: {"SH"},
    Action.UID: {"UI"},
    Action.CLASS: {"UI"},
    Action.DATE: {"DA", "DT"},
    Action.TIME: {"TM"},
    Action.AGE: {"AS"},
    Action.MAKER: {"LO"},
    Action.POINTER: {"AT"},
    Action.CODES: {"SQ"},
    Action.ITEMS: {"SQ"},
    Action.DUMMY: {"LO", "SH"},
    Action.EMPTY: {"PN", "LO", "SH", "DA"},
    Action.PIXELS: {"OB or OW"},
}


@pytest.mark.parametrize("keyword", [*PROFILE, *SET, *ALWAYS_THERE])
def test_an_attribute_is_dicoms_and_its_action_fits_its_vr(keyword):
    assert tag_for_keyword(keyword)
    if keyword in PROFILE:
        assert dictionary_VR(keyword) in VRS[PROFILE[keyword]]


def test_no_text_stays_as_it_is():
    """Of the VRs for free text, those that stay are limited to words, forms and dummies."""
    limited = {Action.WORD, Action.PATTERN, Action.DUMMY, Action.EMPTY, Action.MAKER}
    for keyword, action in PROFILE.items():
        if dictionary_VR(keyword) in ("LO", "SH", "PN", "ST", "LT", "UT", "UC", "UR", "AE"):
            assert action in limited, keyword


def test_each_list_and_form_is_of_an_attribute_that_stays():
    assert {key for key, action in PROFILE.items() if action is Action.WORD} == set(WORDS)
    assert {key for key, action in PROFILE.items() if action is Action.PATTERN} == set(FORMS)
    assert not set(SET) & set(PROFILE)
    assert all(
        word == word.upper() and len(word) <= 32 for words in WORDS.values() for word in words
    )


def test_the_options_have_the_words_of_the_standard():
    from pydicom.sr._concepts_dict import concepts

    meanings = {
        code: meaning for codes in concepts["DCM"].values() for code, (meaning, _) in codes.items()
    }
    assert {code: meanings[code] for code in OPTIONS} == OPTIONS


def test_the_page_of_the_profile_is_up_to_date():
    sys.path.insert(0, str(ROOT / "tests" / "tools"))
    import make_deidentify_reference

    page = ROOT / "docs" / "reference" / "deidentification.md"
    assert page.read_text() == make_deidentify_reference.page()
