"""The words by which scanners say what an image is: codes of ImageType, and words of free text.

Free text is only searched for the words below; what else it says is never kept or written.
"""

import re
from collections.abc import Iterable

from pydicom.dataset import Dataset

from spine_monai.readers.keywords import TEXT_KEYWORDS

LOCALIZER = frozenset({"LOCALIZER", "SCOUT", "SURVEY"})
REFORMAT = frozenset(
    {
        *("MPR", "CSA MPR", "CSAMPR", "CSAPARALLEL", "CPR", "REFORMATTED"),
        *("MIP", "MINIP", "CSA MIP", "PROJECTION IMAGE", "MAX_IP", "MIN_IP", "VOLREN"),
    }
)
MOSAIC = frozenset({"MOSAIC"})
# What is computed from images, or is no magnitude: maps, phase, real and imaginary part.
MAP = frozenset(
    {
        *("ADC", "ADC_UNSPECIFIED", "FA", "TRACEW", "T1 MAP", "T2 MAP", "T2_STAR MAP", "T1_MAP"),
        *("T2_MAP", "T2_STAR_MAP", "R2", "R2_STAR", "FF", "FAT_FRACTION", "SUBTRACTION", "SUB"),
    }
)
NO_MAGNITUDE = frozenset(
    {"P", "R", "I", "PHASE", "PHASE MAP", "REAL", "IMAGINARY", "B0", "B0 MAP", "FIELD_MAP"}
)
WATER = frozenset({"W", "WATER"})
FAT = frozenset({"F", "FAT"})
OPPOSED = frozenset({"OP", "OPP_PHASE", "OUT_PHASE", "OUT_OF_PHASE", "OPPOSED_PHASE"})
IN_PHASE = frozenset({"IP", "IN_PHASE"})
CORRECTED = frozenset({"DIS2D", "DIS3D"})
# Images that differ in one of these are not slices of one volume.
KINDS = frozenset(
    {
        *("ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY"),
        *(*LOCALIZER, *REFORMAT, *MOSAIC, *MAP, *NO_MAGNITUDE, *WATER, *FAT, *OPPOSED, *IN_PHASE),
    }
)


def _word(pattern: str) -> re.Pattern[str]:
    """A word that no letter touches, whatever separates it."""
    return re.compile(rf"(?<![A-Z])(?:{pattern})(?![A-Z])")


WORDS = {
    # T2 may be glued to its neighbours (SAGT2TSE), but T2*, T2 maps and T2 FLAIR are other things.
    "T2": re.compile(r"T2(?!\s*\*|[ _-]*(?:STAR|MAP|FLAIR|DARK))"),
    "T1": re.compile(r"T1(?!\d)"),
    "PD": _word(r"PD|PDW|DP|PROTON(?:[ _-]*DENS\w*)?"),
    "T2*": re.compile(
        r"T2(?:\s*\*|[ _-]*STAR)|(?<![A-Z])(?:MEDIC|MERGE|MFFE|M-FFE|SWI|HEMO)(?![A-Z])"
    ),
    "STIR": _word(r"STIR|TIRM|TIR|IRFSE|FASTIR"),
    "FLAIR": re.compile(r"FLAIR|DARK[ _-]*FL"),
    "fat-suppressed": re.compile(
        r"(?<![A-Z])(?:FS|FAT[ _-]*(?:SAT|SUP)\w*|SPAIR|SPIR|WFS|CHESS|PROSET)(?![A-Z])|FATSAT"
    ),
    "not fat-suppressed": re.compile(
        r"(?<![A-Z])(?:NO|NON|NOT|W/O|WITHOUT|OHNE|SANS)[ _-]*(?:FS|FAT)"
    ),
    "Dixon": re.compile(r"DIXON|(?<![A-Z])(?:IDEAL|FSE[ _-]*FLEX|DIX)(?![A-Z])"),
    "water": _word(r"WATER|(?<!\d)W"),
    "fat": _word(r"FAT|(?<!\d)F"),
    "in phase": _word(r"IN|IP|IN[ _-]*PHASE|INPHASE"),
    "opposed phase": _word(r"OPP|OP|OUT|(?:OPP|OUT)[ _-]*(?:OF[ _-]*)?PHASE"),
    "localizer": _word(r"LOC|LOCALI[SZ]ER\w*|SCOUT\w*|SURVEY\w*|TOPOGRAM|3[ _-]*PL(?:ANE)?|PILOT"),
    "reformat": _word(r"MPR|MIP|MINIP|REFORMAT\w*"),
    "map": re.compile(r"(?:T1|T2|PD|ADC)[ _-]*MAP|(?<![A-Z])ADC(?![A-Z])"),
    "diffusion": _word(r"DWI|DTI|DIFF\w*|EP2D\w*|TRACEW?"),
    "myelography": _word(r"MYELO\w*|MYELOGRAPHY"),
}
LUMBAR = _word(r"L[ _-]*SP\w*|LS[ _-]*SP\w*|LUMB\w*|LWS|LS|LENDEN\w*|TL[ _-]*SP\w*|LSSPINE")
OTHER_LEVEL = _word(
    r"C[ _-]*SP\w*|CERV\w*|HWS|HALS\w*|NECK|T[ _-]*SP\w*|THORA\w*|BWS|DORSAL\w*|HEAD|BRAIN"
)


def words_of(header: Dataset) -> frozenset[str]:
    """Return which of our words the description of a series holds.

    GE writes the name of the whole examination to ProtocolName, which says nothing of one series.
    """
    description, protocol, manufacturer = (
        str(header.get(keyword) or "").upper()
        for keyword in ("SeriesDescription", "ProtocolName", "Manufacturer")
    )
    is_of_examination = manufacturer.startswith("GE") and bool(description)
    text = description if is_of_examination else f"{description} / {protocol}"
    return frozenset(word for word, pattern in WORDS.items() if pattern.search(text))


def level_of(header: Dataset) -> str:
    """Return ``lumbar``, ``other`` or nothing: where in the spine the text places a series."""
    for keyword in TEXT_KEYWORDS:
        text = str(header.get(keyword) or "").upper()
        if LUMBAR.search(text):
            return "lumbar"
        if OTHER_LEVEL.search(text):
            return "other"
    return ""


def codes_of(header: Dataset, *keywords: str) -> frozenset[str]:
    """Return the values of coded attributes, in upper case."""
    values = [header.get(keyword) or [] for keyword in keywords]
    lists: list[Iterable[object]] = [[v] if isinstance(v, str) else v for v in values]
    return frozenset(str(value).strip().upper() for one in lists for value in one)
