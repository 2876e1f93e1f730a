"""Write the page of the de-identification profile from its code.

python tests/tools/make_deidentify_reference.py > docs/reference/deidentification.md
"""

import sys
from collections import defaultdict

from pydicom.datadict import dictionary_VR, tag_for_keyword

from spine_monai.deidentify.pixels import COMPRESSED, NATIVE
from spine_monai.deidentify.profile import METHOD, OPTIONS, PROFILE, PROFILE_VERSION, SET, Action
from spine_monai.deidentify.refusal import (
    BURNED_IN,
    CONVERTED,
    IN_COLOUR,
    KINDS,
    NO_MR_IMAGE,
    OF_IMAGES,
    OVERLAID,
    PICTURE_WORDS,
)
from spine_monai.deidentify.values import BOUNDS, FIRST_YEAR
from spine_monai.deidentify.words import MANUFACTURERS, WORDS

NOTE = "<!-- Made by tests/tools/make_deidentify_reference.py; do not edit. -->\n\n"
INTRO = f"""# De-identification profile {PROFILE_VERSION}

What `spine-monai deidentify` keeps of an MR image, and in which form. **What is not in the table
goes**, at the root and in nested sequences, private attributes and overlays always. How to use
it: [how-to](../how-to/deidentify.md).

It follows the Basic Application Level Confidentiality Profile of DICOM PS3.15 annex E with these
options, which each object names (DeidentificationMethod `{METHOD}`):

"""
LIMITS = """
Not claimed: Clean Descriptors (free text goes, it is not cleaned), Clean Pixel Data (what may
hold text is refused), Retain UIDs, Retain Device Identity, Retain Safe Private. Dates are moved
by 1 to 365 whole days, the same for all of a patient; **times of day stay**, for the order of
scans depends on them. Sex, age, size and weight stay. Faces are not removed: a localizer or a
cervical scan may show one.
"""
CHECKED = """
A value must be what its attribute says, or it goes too (an attribute of type 2 is then left
empty):

- The VR must be that of the dictionary, and the number of values too.
- Numbers: decimal text of at most 12 digits before the point, and not larger than {bounds}. So no
  date, telephone number or text in a number field passes; a short number that means something (a
  patient number in SeriesNumber) cannot be told from one.
- Dates: of the form YYYYMMDD, from {year} on.
- Words: only those of the list below, whatever the standard lets vendors add; others go, in
  ImageType and FrameType they become OTHER.
- UIDs: `2.25.` and 128 bits of HMAC-SHA256 of the key and the old UID; UIDs that DICOM itself
  defines stay.
- Transfer syntax: kept; one of {syntaxes} that DICOM defines for grey images.
- File meta information is written anew, without AE titles and private information; the preamble
  is zeros; bytes behind the data set go.
"""


def page() -> str:
    """The whole page."""
    options = "\n".join(f"- {code} {meaning}" for code, meaning in OPTIONS.items())
    bounds = ", ".join(f"{bound:g} ({vr})" for vr, bound in BOUNDS.items())
    count = len(NATIVE) + len(COMPRESSED)
    checked = CHECKED.format(bounds=bounds, year=FIRST_YEAR, syntaxes=count)
    parts = [NOTE, INTRO, options, "\n", LIMITS, _refused(), "\n## Values\n", checked, _table()]
    return "".join([*parts, _words()])


def _refused() -> str:
    kinds = sorted({*KINDS.values(), NO_MR_IMAGE})
    kinds += [BURNED_IN, OF_IMAGES, CONVERTED, IN_COLOUR, OVERLAID]
    lines = "\n".join(f"- {kind}" for kind in kinds)
    words = ", ".join(f"`{word}`" for word in sorted(PICTURE_WORDS))
    return f"\n## Objects that are refused\n\n{lines}\n\nWords of ImageType that refuse: {words}.\n"


def _table() -> str:
    by_action: dict[Action, list[str]] = defaultdict(list)
    for keyword, action in PROFILE.items():
        by_action[action].append(keyword)
    rows = [
        f"| {_tag(keyword)} | {keyword} | {dictionary_VR(keyword)} | {action.value} |"
        for keyword, action in sorted(PROFILE.items(), key=lambda row: tag_for_keyword(row[0]) or 0)
    ]
    rows += [f"| {_tag(keyword)} | {keyword} | {dictionary_VR(keyword)} | set |" for keyword in SET]
    head = (
        "\n## Attributes that stay\n\n| tag | attribute | VR | what is done |\n|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def _words() -> str:
    rows = [f"| {key} | {', '.join(sorted(WORDS[key]))} |" for key in sorted(WORDS)]
    makers = ", ".join(dict.fromkeys(MANUFACTURERS.values()))
    head = "\n## Words that may stay\n\n| attribute | words |\n|---|---|\n"
    return head + "\n".join([*rows, f"| Manufacturer | {makers} |"]) + "\n"


def _tag(keyword: str) -> str:
    tag = tag_for_keyword(keyword) or 0
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


if __name__ == "__main__":
    sys.stdout.write(page())
