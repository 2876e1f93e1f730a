"""What a conversion gives: the cases that were joined, and a remark on everything that was not.

An annotation file is never right in all its places. What cannot be used is left out *and told*:
each case, landmark or file in a remark of its own, with a code that a program can count.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from spine_monai.data.datalists import Item
from spine_monai.data.folds import PUBLIC_KEY
from spine_monai.files import write_text
from spine_monai.landmarks import LandmarkRegistry
from spine_monai.readers import StudyError

REPORT_FORMAT = "spine_monai.conversion"
REPORT_VERSION = 1
T = TypeVar("T")


@dataclass(frozen=True)
class Remark:
    """One thing that a conversion could not use as it stood.

    Args:
        code: what kind of thing, such as ``study_not_found``.
        message: what was expected, what came, and where.
        case: the case that it concerns; empty where it concerns none.
        landmark: the landmark that it concerns; empty where it concerns none.
        left_out: whether the whole case is missing from the datalist.
    """

    code: str
    message: str
    case: str = ""
    landmark: str = ""
    left_out: bool = False

    @property
    def content(self) -> dict[str, Any]:
        """The remark as JSON holds it."""
        nothing = {"case": self.case or None, "landmark": self.landmark or None}
        return {"code": self.code, **nothing, "left_out": self.left_out, "message": self.message}


class LeftOutError(ValueError):
    """A case or a point cannot be used; the others can.

    Args:
        message: of the remark that it becomes.
        code: of the remark.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Conversion:
    """Datalist items, and what could not be used.

    Args:
        registry: landmarks that are expected; other levels are kept too.
        subject_key: of the subjects' digests; see ``read_subject_key``.
        items: one for each case that was joined.
        remarks: in the order in which they came up.
    """

    registry: LandmarkRegistry
    subject_key: bytes = PUBLIC_KEY
    items: list[Item] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

    @property
    def left_out(self) -> list[Remark]:
        """The remarks by which a whole case is missing."""
        return [remark for remark in self.remarks if remark.left_out]

    def remark(self, code: str, message: str, *, case: str = "", landmark: str = "") -> None:
        """Tell something by which no case is lost."""
        self.remarks.append(Remark(code, message, case, landmark))

    def each(self, cases: Sequence[T]) -> Iterable[T]:
        """Give the cases one by one, with a progress bar where somebody looks on."""
        bar: Iterable[T] = tqdm(cases, desc="convert", unit="case", disable=None, leave=False)
        return bar

    @contextmanager
    def attempt(self, case: str) -> Iterator[None]:
        """Convert a case; if it cannot be converted, it is left out with its reason."""
        try:
            yield
        except LeftOutError as error:
            self.remarks.append(Remark(error.code, str(error), case, left_out=True))
        except StudyError as error:
            self.remarks.append(Remark("unreadable_image", str(error), case, left_out=True))

    def add(self, item: Item) -> None:
        """Take an item.

        Raises:
            LeftOutError: another item has its id.
        """
        if any(item["id"] == other["id"] for other in self.items):
            msg = f"each case must be annotated once: {item['id']} is a second time. The first "
            msg += "annotation is kept."
            raise LeftOutError(msg, "annotated_twice")
        self.items.append(item)


def write_conversion_report(conversion: Conversion, path: Path) -> None:
    """Write all remarks as JSON, whole or not at all."""
    content = {
        "format": REPORT_FORMAT,
        "format_version": REPORT_VERSION,
        "cases": [item["id"] for item in conversion.items],
        "left_out": [remark.case for remark in conversion.left_out],
        "remarks": [remark.content for remark in conversion.remarks],
    }
    write_text(path, json.dumps(content, indent=1) + "\n")
