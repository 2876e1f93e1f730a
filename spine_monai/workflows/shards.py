"""Which part of the cases one call does, so that many calls share them without talking."""

import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """Part ``number`` of ``count``, counted from 1; a case's id decides where it belongs.

    Raises:
        ValueError: there is no such part.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            msg = "shard must be I/N with I from 1 to N, such as 3/8: got "
            msg += f"{self.number}/{self.count}."
            raise ValueError(msg)

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``I/N``.

        Raises:
            ValueError: the text is something else.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match:
            msg = f"shard must be I/N with I from 1 to N, such as 3/8: got {text!r}."
            raise ValueError(msg)
        return cls(int(match[1]), int(match[2]))

    @property
    def is_whole(self) -> bool:
        """Whether it is all cases."""
        return self.count == 1

    @property
    def name(self) -> str:
        """How its files are called."""
        return f"{self.number}-of-{self.count}"

    def holds(self, case: str) -> bool:
        """Whether a case belongs to it."""
        digest = hashlib.sha256(case.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1
