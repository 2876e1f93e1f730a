"""The rules that a series must pass to be the sagittal T2 one, in the order they are asked.

Those of ``READING`` say that its files can be read as sagittal slices. The other ones say what the
networks were trained on, and a user who names a series overrules them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from spine_monai.readers import vocabulary
from spine_monai.readers.errors import StudyError
from spine_monai.readers.headers import MR_CLASSES
from spine_monai.readers.keywords import FRAME_GROUPS, NEEDED_KEYWORDS
from spine_monai.readers.layout import PLANES, Layout, layout_of
from spine_monai.readers.series import Series
from spine_monai.readers.weighting import T2, Weighting, weighting_of

MAX_OBLIQUENESS_DEG = 30.0
MIN_SLICES = 2
GREY = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A series and what the rules ask of it.

    Args:
        series: part of a study's index.
        parts: the candidates of all parts of the same series, this one among them.
    """

    series: Series
    parts: Sequence["Candidate"]

    @cached_property
    def layout(self) -> Layout:
        """How it lies in the patient."""
        return layout_of(self.series)

    @cached_property
    def weighting(self) -> Weighting:
        """What it is weighted by."""
        return weighting_of(self.series)

    @cached_property
    def words(self) -> frozenset[str]:
        """Our words in its description."""
        return vocabulary.words_of(self.series.header)

    @cached_property
    def level(self) -> str:
        """Where in the spine its description places it: ``lumbar``, ``other`` or nothing."""
        return vocabulary.level_of(self.series.header)

    @cached_property
    def unreadable(self) -> str:
        """The first rule of reading that it fails, in words; empty where it passes all."""
        return _first_failed(self, READING)

    @cached_property
    def failed_rule(self) -> str:
        """The first of all rules that it fails, in words; empty where it passes all."""
        return _first_failed(self, RULES)


Rule = Callable[[Candidate], str]


def _first_failed(candidate: Candidate, rules: Iterable[Rule]) -> str:
    return next(filter(None, (rule(candidate) for rule in rules)), "")


def _has_readable_header(candidate: Candidate) -> str:
    for instance in candidate.series.instances:
        needed = [key for key in instance.unreadable if key in (*NEEDED_KEYWORDS, FRAME_GROUPS)]
        if needed:
            return f"{instance.name} has no valid {', '.join(needed)}"
    return ""


def _is_grey(candidate: Candidate) -> str:
    header = candidate.series.header
    is_grey = header.get("PhotometricInterpretation", GREY[1]) in GREY
    is_grey = is_grey and int(header.get("SamplesPerPixel") or 1) == 1
    return "" if is_grey else "its images are in colour, not grey"


def _has_one_image_a_header(candidate: Candidate) -> str:
    instance = candidate.series.instances[0]
    count = int(instance.header.get("NumberOfFrames") or 1)
    if instance.frame is not None or count == 1:
        return ""
    return f"{instance.path} has {count} frames and does not say where each of them lies"


def _is_no_mosaic(candidate: Candidate) -> str:
    is_mosaic = candidate.series.image_types & vocabulary.MOSAIC
    return "its images are mosaics of slices" if is_mosaic else ""


def _has_place(candidate: Candidate) -> str:
    try:
        for instance in candidate.series.instances:
            _place = instance.height_mm, instance.pixel_spacing_mm
    except StudyError as error:
        return str(error).rstrip(".")
    return ""


def _is_nearly_sagittal(candidate: Candidate) -> str:
    plane = candidate.layout.plane
    return "" if plane == "sagittal" else f"it is not sagittal but {plane}"


def _has_slices(candidate: Candidate) -> str:
    count = candidate.layout.slices
    return "" if count >= MIN_SLICES else f"it has 1 slice where at least {MIN_SLICES} are needed"


def _is_evenly_spaced(candidate: Candidate) -> str:
    if candidate.layout.is_even:
        return ""
    least_mm, most_mm = candidate.layout.step_range_mm
    distances = f"distances from {least_mm:.2f} to {most_mm:.2f} mm"
    rule = "it must have evenly spaced slices: ImagePositionPatient gives"
    return f"{rule} {distances}. Is a slice missing?"


def _is_sagittal(candidate: Candidate) -> str:
    angle_deg = candidate.layout.oblique_deg
    if angle_deg <= MAX_OBLIQUENESS_DEG:
        return ""
    return f"it is not sagittal (its plane is turned {angle_deg:.0f} degrees from it)"


def _is_magnetic_resonance(candidate: Candidate) -> str:
    is_mr = candidate.series.header.get("SOPClassUID") in MR_CLASSES
    return "" if is_mr else "it is not an MR image series"


def _is_no_localizer(candidate: Candidate) -> str:
    if candidate.series.image_types & vocabulary.LOCALIZER or "localizer" in candidate.words:
        return "it is a localizer"
    is_of_three_planes = {part.layout.plane for part in candidate.parts} >= set(PLANES)
    return "it is a localizer: its series has slices in three planes" if is_of_three_planes else ""


def _is_of_one_origin(candidate: Candidate) -> str:
    readable = (part.series for part in candidate.parts if not part.unreadable)
    if len({series.instances[0].origin for series in readable}) <= 1:
        return ""  # a screenshot inside a series may come from anywhere
    return "its series mixes images of several patients, studies or frames of reference"


def _is_primary(candidate: Candidate) -> str:
    types = candidate.series.image_types
    if types & vocabulary.REFORMAT:
        return "it is a reformat or projection of other images"
    if candidate.series.is_derived and "reformat" in candidate.words:
        return "it is a reformat or projection of other images, by its description"
    return "its images are SECONDARY: made after the scan" if "SECONDARY" in types else ""


def _is_magnitude(candidate: Candidate) -> str:
    types = candidate.series.image_types
    component = vocabulary.codes_of(candidate.series.header, "ComplexImageComponent")
    if types & vocabulary.NO_MAGNITUDE or component & vocabulary.NO_MAGNITUDE:
        return "its images are no magnitude but phase, real or imaginary parts"
    is_map = types & vocabulary.MAP or "map" in candidate.words
    return "it is a map computed from other images" if is_map else ""


def _shows_water_and_fat(candidate: Candidate) -> str:
    types = candidate.series.image_types
    of_dixon = candidate.words if "Dixon" in candidate.words else frozenset()
    if types & vocabulary.FAT or "fat" in of_dixon - {"water"}:
        return "it is the fat image of Dixon"
    is_opposed = types & vocabulary.OPPOSED or "opposed phase" in of_dixon
    return "it is the opposed-phase image of Dixon" if is_opposed else ""


def _is_t2(candidate: Candidate) -> str:
    weighting = candidate.weighting
    if weighting.name == T2:
        return ""
    return f"it is not T2-weighted ({weighting.evidence}: {weighting.name})"


def _is_first_scan(candidate: Candidate) -> str:
    number, count = candidate.series.scan
    return f"it is scan {number} of {count} of the same places" if number > 1 else ""


READING: tuple[Rule, ...] = (
    _has_readable_header,
    _is_grey,
    _has_one_image_a_header,
    _is_no_mosaic,
    _has_place,
    _is_nearly_sagittal,
    _has_slices,
    _is_evenly_spaced,
)
RULES: tuple[Rule, ...] = (
    _is_magnetic_resonance,
    _is_no_localizer,
    _is_of_one_origin,
    *READING,
    _is_sagittal,
    _is_primary,
    _is_magnitude,
    _shows_water_and_fat,
    _is_t2,
    _is_first_scan,
)
