"""What a series is weighted by: the numbers and codes of its header first, its text last.

The text is asked for what no number tells (fat suppression that the codes leave out), where the
numbers lie between two kinds, and where they are missing; the evidence says so.
"""

from dataclasses import dataclass
from functools import cached_property

from pydicom.dataset import Dataset

from spine_monai.readers import vocabulary
from spine_monai.readers.elements import single_number
from spine_monai.readers.series import Series
from spine_monai.readers.vocabulary import codes_of, words_of

T2 = "T2"
FAT_SUPPRESSED = "T2 fat-suppressed"
# Spin echo: TE of 60 ms and more is T2, of less than 40 ms T1 or PD; between them the text decides.
T2_MIN_ECHO_TIME_MS = 60.0
PD_MAX_ECHO_TIME_MS = 40.0
# 3-D turbo spin echo (SPACE, CUBE, VISTA) restores magnetization at the end of each train, so that
# a shorter TR will do; its effective TE is longer for the same contrast.
T2_MIN_REPETITION_TIME_MS = 1500.0
T2_MIN_REPETITION_TIME_3D_MS = 1000.0
T2_MAX_ECHO_TIME_MS = 250.0
T2_MAX_ECHO_TIME_3D_MS = 500.0
T2_STAR_MIN_ECHO_TIME_MS = 10.0
# Inversion times: fat is nulled at 80 (0.2 T) to 250 ms (3 T), water at more than 1400 ms.
# Less than 60 ms inverts nothing: some scanners write it for a fat-suppression pulse or a delay.
MIN_INVERSION_TIME_MS = 60.0
STIR_MAX_INVERSION_TIME_MS = 350.0
FLAIR_MIN_INVERSION_TIME_MS = 1400.0
STIR_MIN_REPETITION_TIME_MS = 1000.0
# Terms of AcquisitionContrast (PS3.3 C.8.13.3.3.1) that stand above the times.
CONTRASTS = {
    "DIFFUSION": "diffusion",
    "FLOW_ENCODED": "flow",
    "FLUID_ATTENUATED": "FLAIR",
    "PERFUSION": "perfusion",
    "STIR": "STIR",
    "TAGGING": "tagging",
    "TIME_OF_FLIGHT": "angiography",
    "T2_STAR": "T2*",
}
TIMED_CONTRASTS = {"T1": "T1", "T2": T2, "PROTON_DENSITY": "PD"}
SUPPRESSED_OPTIONS = frozenset({"FS", "FAT_SAT", "FATSAT", "FAT SAT", "SPIR", "SPAIR"})


@dataclass(frozen=True)
class Weighting:
    """What a series is weighted by.

    Args:
        name: such as ``T2``, ``STIR`` or ``unknown``.
        evidence: the numbers and codes it follows from; never free text.
        is_by_text: whether only the text told.
    """

    name: str
    evidence: str
    is_by_text: bool = False


@dataclass(frozen=True)
class Contrast:
    """What the header of a series says of its contrast."""

    header: Dataset

    @cached_property
    def echo_ms(self) -> float:
        """TE, 0 where it is unknown."""
        return single_number(self.header, "EchoTime")

    @cached_property
    def repetition_ms(self) -> float:
        """TR, 0 where it is unknown."""
        return single_number(self.header, "RepetitionTime")

    @cached_property
    def inversion_ms(self) -> float:
        """TI, 0 where nothing is inverted or the time is unknown."""
        time_ms = single_number(self.header, "InversionTime")
        return time_ms if time_ms >= MIN_INVERSION_TIME_MS else 0.0

    @cached_property
    def sequence(self) -> frozenset[str]:
        """Codes of the pulse sequence."""
        return codes_of(self.header, "ScanningSequence", "EchoPulseSequence")

    @cached_property
    def image_types(self) -> frozenset[str]:
        """Values of ImageType."""
        return codes_of(self.header, "ImageType")

    @cached_property
    def words(self) -> frozenset[str]:
        """Our words in the text."""
        return words_of(self.header)

    @property
    def absent(self) -> list[str]:
        """Which of TE and TR are unknown."""
        times_ms = {"TE": self.echo_ms, "TR": self.repetition_ms}
        return [name for name, time_ms in times_ms.items() if not time_ms]

    @property
    def is_3d(self) -> bool:
        """Whether MRAcquisitionType says so."""
        return "3D" in codes_of(self.header, "MRAcquisitionType")

    @property
    def is_inverted(self) -> bool:
        """Whether an inversion pulse goes before."""
        says_so = "IR" in self.sequence | codes_of(self.header, "ScanOptions")
        return self.inversion_ms > 0 or says_so or self.header.get("InversionRecovery") == "YES"

    @property
    def times(self) -> str:
        """The times that are known, in words."""
        known = [("TE", self.echo_ms), ("TR", self.repetition_ms), ("TI", self.inversion_ms)]
        return ", ".join(f"{name} {time_ms:g} ms" for name, time_ms in known if time_ms)


def weighting_of(series: Series) -> Weighting:
    """Return what a series is weighted by."""
    contrast = Contrast(series.header)
    steps = (_by_sequence, _by_inversion, _by_times, _by_code, _by_text)
    found = next(filter(None, (step(contrast) for step in steps)))
    reason = _why_suppressed(contrast) if found.name == T2 else ""
    if not reason:
        return found
    return Weighting(FAT_SUPPRESSED, f"{found.evidence}; {reason}", found.is_by_text)


def _by_sequence(contrast: Contrast) -> Weighting | None:
    """Weightings that TE and TR alone would not tell from T2."""
    codes = codes_of(contrast.header, "AcquisitionContrast")
    for code, name in CONTRASTS.items():
        if code in codes:
            return Weighting(name, f"AcquisitionContrast {code}")
    if single_number(contrast.header, "DiffusionBValue"):
        return Weighting("diffusion", "a b-value is set")
    is_planar = "YES" in codes_of(contrast.header, "EchoPlanarPulseSequence")
    if is_planar or "EP" in contrast.sequence:
        return Weighting("echo-planar", _with_times("echo-planar imaging", contrast))
    if contrast.sequence & {"GR", "GRADIENT"} and "SE" not in contrast.sequence:
        return _gradient_echo(contrast)
    return None


def _gradient_echo(contrast: Contrast) -> Weighting:
    if contrast.is_inverted:
        return Weighting("T1", _with_times("inversion-prepared gradient echo", contrast))
    name = "T2*" if contrast.echo_ms >= T2_STAR_MIN_ECHO_TIME_MS else "gradient echo"
    return Weighting(name, _with_times("gradient echo", contrast))


def _by_inversion(contrast: Contrast) -> Weighting | None:
    for word in ("STIR", "FLAIR"):
        if word in contrast.words:
            evidence = f"inversion recovery by the word {word} in its description"
            return Weighting(word, _with_times(evidence, contrast), is_by_text=True)
    if not contrast.is_inverted:
        return None
    return Weighting(_inverted(contrast), _with_times("inversion recovery", contrast))


def _inverted(contrast: Contrast) -> str:
    time_ms, repetition_ms = contrast.inversion_ms, contrast.repetition_ms
    if time_ms >= FLAIR_MIN_INVERSION_TIME_MS:
        return "FLAIR"
    is_short = 0 < time_ms <= STIR_MAX_INVERSION_TIME_MS
    if is_short and (repetition_ms >= STIR_MIN_REPETITION_TIME_MS or not repetition_ms):
        return "STIR"
    return "T1" if time_ms and contrast.echo_ms < PD_MAX_ECHO_TIME_MS else "inversion recovery"


def _by_times(contrast: Contrast) -> Weighting | None:
    if contrast.absent:
        return None
    echo_ms, is_long = contrast.echo_ms, _has_long_repetition(contrast)
    longest_ms = T2_MAX_ECHO_TIME_3D_MS if contrast.is_3d else T2_MAX_ECHO_TIME_MS
    if echo_ms > longest_ms or "myelography" in contrast.words:
        return Weighting("myelography", contrast.times)
    if echo_ms >= T2_MIN_ECHO_TIME_MS:
        return Weighting(T2 if is_long else "mixed", contrast.times)
    if echo_ms < PD_MAX_ECHO_TIME_MS:
        return Weighting("PD" if is_long else "T1", contrast.times)
    if is_long and contrast.words & {T2, "PD"} == {T2}:
        return Weighting(T2, f"{contrast.times}, and the word T2 in its description")
    return Weighting("PD" if is_long else "mixed", contrast.times)


def _has_long_repetition(contrast: Contrast) -> bool:
    shortest = T2_MIN_REPETITION_TIME_3D_MS if contrast.is_3d else T2_MIN_REPETITION_TIME_MS
    return contrast.repetition_ms >= shortest


def _by_code(contrast: Contrast) -> Weighting | None:
    """AcquisitionContrast, which scanners often leave at UNKNOWN, where the times are missing."""
    for code in codes_of(contrast.header, "AcquisitionContrast") & TIMED_CONTRASTS.keys():
        return Weighting(TIMED_CONTRASTS[code], f"AcquisitionContrast {code}")
    return None


def _by_text(contrast: Contrast) -> Weighting:
    named = contrast.words & {T2, "T1", "PD", "T2*", "diffusion"}
    missing = f"{' and '.join(contrast.absent)} being absent"
    if len(named) == 1:
        (word,) = named
        return Weighting(word, f"the word {word} in its description, {missing}", is_by_text=True)
    if named:
        return Weighting("unknown", f"its description names several, {missing}", is_by_text=True)
    evidence = f"{', '.join(contrast.absent)} and the word T2 are absent"
    return Weighting("unknown", evidence, is_by_text=True)


def _with_times(evidence: str, contrast: Contrast) -> str:
    return f"{evidence}, {contrast.times}" if contrast.times else evidence


def _why_suppressed(contrast: Contrast) -> str:
    """Why the fat of a T2 series is dark, in words; empty where nothing says that it is."""
    if codes_of(contrast.header, "ScanOptions") & SUPPRESSED_OPTIONS:
        return "fat-suppressed by ScanOptions"
    if any("FAT" in c for c in codes_of(contrast.header, "SpectrallySelectedSuppression")):
        return "fat-suppressed by SpectrallySelectedSuppression"
    if "WATER" in codes_of(contrast.header, "SpectrallySelectedExcitation"):
        return "water alone excited, by SpectrallySelectedExcitation"
    if contrast.image_types & vocabulary.WATER:
        return "the water image of Dixon, by ImageType"
    return _why_suppressed_by_text(contrast)


def _why_suppressed_by_text(contrast: Contrast) -> str:
    words, types = contrast.words, contrast.image_types
    if words & {"fat-suppressed", "not fat-suppressed"} == {"fat-suppressed"}:
        return "fat-suppressed by a word in its description"
    has_fat = "in phase" in words or types & (vocabulary.IN_PHASE | vocabulary.FAT)
    if "Dixon" in words and not has_fat:
        return "a Dixon image, by its description, not said to be the one in phase"
    return ""
