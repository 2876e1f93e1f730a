"""What one call does with each of its cases."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from spine_monai.landmarks import describe_set
from spine_monai.workflows.bundle import LANDMARK_SETS
from spine_monai.workflows.slice_choice import Slices, check_slices


@dataclass(frozen=True)
class Job:
    """What one call does with each of its cases.

    Args:
        output_dir: where the case folders go.
        formats: kinds of files to write.
        bundle: description of the bundle, as ``describe_bundle`` gives it.
        options: values of the workflow that change results.
        overwrite: do finished cases again.
    """

    output_dir: Path
    formats: tuple[str, ...]
    bundle: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    overwrite: bool = False

    @property
    def slices(self) -> Slices:
        """Whether the landmarks come from ``one`` slice or ``all``."""
        return check_slices(self.options.get("slices", "one"))

    @cached_property
    def recorded_options(self) -> dict[str, Any]:
        """The options, landmark sets by their content: a file of theirs may change."""
        sets = {k: describe_set(self.options[k]) for k in LANDMARK_SETS if k in self.options}
        return {**self.options, **sets}

    def options_of(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of one case: with its own slice, where its item names one.

        Args:
            item: of the case; see ``Localizer.run``.
        """
        index = item.get("slice_index")
        options = dict(self.recorded_options)
        return options if index is None else options | {"slice_index": index}

    @property
    def identity(self) -> dict[str, Any]:
        """What must be equal for a result to count as this job's, ready for JSON."""
        options = {"bundle": dict(self.bundle), "options": self.recorded_options}
        return options | {"formats": sorted(self.formats)}
