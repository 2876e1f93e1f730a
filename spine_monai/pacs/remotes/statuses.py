"""What a C-STORE status means: done, done before, to be tried again, or never."""

from spine_monai.pacs.remote import Stored

SUCCESS, DUPLICATE, NOT_AUTHORIZED = 0x0000, 0x0111, 0x0124
WARNINGS = {0x0001, 0x0107, 0x0116}  # PS3.7 annex C
FINAL = {
    0x0106: "an attribute has a wrong value",
    0x0115: "an argument has a wrong value",
    0x0117: "it is no object of its class",
    0x0118: "there is no such class",
    0x0119: "class and instance do not agree",
    0x0122: "it does not take objects of this class",
    0x0211: "it does not know the operation",
    0x0212: "it cannot read the request",
}
RANGES = {  # PS3.4 table B.2-1, by the first digits
    0xA7: ("it is out of resources", False),
    0xA9: ("the object does not agree with its class", True),
    0xC0: ("it cannot understand the object", True),
}


def stored_as(code: int) -> Stored:
    """Return what a C-STORE status means.

    Args:
        code: the status.
    """
    number = f"0x{code:04X}"
    if code == SUCCESS:
        return Stored(is_done=True, reason=f"stored ({number})")
    if code == DUPLICATE:
        return Stored(is_done=True, reason=f"it had it before ({number})")
    if code in WARNINGS or code >> 12 == 0xB:
        return Stored(is_done=True, reason=f"stored, with a warning ({number})")
    reason, is_final = _failure(code)
    return Stored(is_done=False, reason=f"{reason} ({number})", is_final=is_final)


def _failure(code: int) -> tuple[str, bool]:
    if code in FINAL:
        return FINAL[code], True
    first = 0xC0 if code >> 12 == 0xC else code >> 8
    return RANGES.get(first, ("it failed for a reason of its own", False))
