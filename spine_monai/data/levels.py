"""Names of vertebral levels: which words of other people's files mean one."""

import re

VERTEBRAE = (
    *(f"C{number}" for number in range(1, 8)),
    *(f"T{number}" for number in range(1, 14)),
    *(f"L{number}" for number in range(1, 7)),
    *(f"S{number}" for number in range(1, 6)),
)


def level_name(text: str) -> str | None:
    """Return the level that a word means, as radiologists write it; ``None`` where it means none.

    A disc is two vertebrae of which the second can follow the first, so that transitional spines
    (``L4-S1``, ``T13``, ``L6``) have names too.

    Args:
        text: such as ``L4``, ``L4-L5``, ``l4/l5``.
    """
    parts = re.split(r"\s*[-/]\s*", text.strip().upper())
    known = [VERTEBRAE.index(part) for part in parts if part in VERTEBRAE]
    is_level = len(known) == len(parts) and (len(known) == 1 or _follow(known))
    return "-".join(parts) if is_level else None


def _follow(places: list[int]) -> bool:
    return len(places) == 2 and 0 < places[1] - places[0] <= 3
