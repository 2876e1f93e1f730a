"""Write the page on DICOM and volume files: the rules of reading, and what comes of hard cases.

python tests/tools/make_dicom_reference.py docs/reference/dicom.md        (or: make docs)
"""

import itertools
import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path

import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parents[1]))

from hard_cases import CASES, HardCase, Written, by_simpleitk, by_spine_monai

from spine_monai.readers.volumes import is_volume_file

NOTE = "<!-- Made by tests/tools/make_dicom_reference.py; do not edit. -->\n\n"
RULES = """# DICOM and volume files

What is read, how, and what is refused. Every rule below is held by tests; the table at the end is
written by them.

## Which images make a series

Files are told apart by their content, never by name; any depth of folders, a zip, a DICOMDIR beside
them or no preamble make no difference. Images are grouped by SeriesInstanceUID, then split by
matrix, PixelSpacing, ImageOrientationPatient (0.5 degrees), EchoTime and kind of image; where two
lie in one plane, by echo, acquisition or time. `spine-monai series STUDY` shows the result, and why
each series was or was not chosen.

## Order and place

- Slices are ordered by ImagePositionPatient along the normal of ImageOrientationPatient. File names
  and InstanceNumber decide nothing.
- The affine follows from ImagePositionPatient, ImageOrientationPatient and PixelSpacing (PS3.3
  C.7.6.2.1.1). The distance of slices is that of their positions; SliceThickness and
  SpacingBetweenSlices are not used, and a SpacingBetweenSlices more than 10 % off is warned of.
- Slices must be evenly spaced: none more than 10 % of the mean distance from its place. A missing
  slice is refused, not bridged.
- A stack whose slices are shifted in their plane keeps its shear in the affine, with a warning.
- Copies (one place, equal pixels) are left out with a warning; one place and other pixels: refused.
- A file of Enhanced MR counts as one image a frame; its functional groups are read. What a file is,
  its content says, not its SOP class: one without functional groups is read by its root attributes.
- PixelSpacing absent, zero or different between slices: refused. No default is ever put in place.

## Values

- Pixels are decoded by pydicom where it or a plug-in can, else by SimpleITK (GDCM), frame by frame
  and without the header, so that no decoder's own geometry or rescale is used. A plain install
  decodes RLE, JPEG, JPEG lossless, JPEG-LS and JPEG 2000.
- Each slice's RescaleSlope and RescaleIntercept apply to it, in float32. A slope of 0 is refused.
- MONOCHROME1 is turned over after the rescale, so that bright stays bright: each value becomes the
  sum of the lowest and highest value that the stored bits can give in the series, minus itself.
  With one rescale for all slices that is the rescaled `2 ** BitsStored - 1 - stored`.
- A file that ends within its pixels is refused. One that lacks only the end marker of compressed
  pixels is read: all of them are there.
- Compressed pixels, and files that SimpleITK reads, are decoded in a process of their own: a
  decoder that crashes, computes for more than some seconds or asks for more than 2 GiB costs one
  case, not the run. At most 268 435 456 pixels a series are read.

## NIfTI, MHA, NRRD, PNG, JPEG

- NIfTI: the sform where its code is set, else the qform; neither: refused. Where qform or pixdim
  contradict the sform, a warning. Lengths are mm, or of no named unit and taken for mm; metres and
  micrometres are refused. Further axes must have length 1. The file must be exactly as long as its
  header says, and the checksum of a compressed one right.
- MHA, MHD, NRRD: one three-dimensional grey image, placed as SimpleITK says.
- PNG, JPEG: one grey slice, only with a pixel size given; it has no place in the patient, and
  results say so. Colours, transparency, and a JPEG turned by its EXIF tag are refused.

"""
WARNINGS = """## Warnings of reading

They stand in `landmarks.json` and `report.json` of the case.

| code | meaning |
|---|---|
| `duplicate_images` | copies of images were left out |
| `shared_instance_uid` | several slices have one SOPInstanceUID: references to one are ambiguous |
| `sheared_stack` | the slices are shifted in their plane; the affine says so |
| `oblique_stack` | the user named a series more than 30 degrees from sagittal |
| `spacing_between_slices` | that tag contradicts the positions, which were used |
| `no_preamble` | a file lacks the DICOM preamble; its transfer syntax may be guessed |
| `qform_differs` | qform and sform put the volume at different places; the sform was used |
| `pixdim_differs` | pixdim contradicts the sform, which was used |

"""
TABLE = """## Hard cases

Each row is a study that `tests/hard_cases` writes and the tests read: an oblique phantom with three
different spacings. *right* means the place of all corners within 0.03 mm, and every pixel equal.
The last column is what SimpleITK gives when handed the same folder or volume file, of a folder its
first series: *differs* is a volume other than the one that was written, without an error. For
studies that are refused here, *reads it* means that it gives some volume without an error.

"""


def page(folder: Path) -> str:
    """The page.

    Args:
        folder: an empty folder to write the studies to.
    """
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        rows = [(case, _row(case, folder / case.name)) for case in CASES]
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(True)
    parts = [NOTE, RULES, WARNINGS, TABLE, _summary()]
    for group, members in itertools.groupby(rows, key=lambda row: row[0].group):
        parts.append(f"\n### {group}\n\n| study | here | SimpleITK |\n|---|---|---|\n")
        parts += [row for _, row in members]
    return "".join(parts)


def _summary() -> str:
    counts = Counter("refused" if case.refused else "right" for case in CASES)
    return f"{len(CASES)} studies: {counts['right']} read, {counts['refused']} refused, 0 wrong.\n"


def _row(case: HardCase, folder: Path) -> str:
    folder.mkdir()
    written = case.build(folder)
    outcome = by_spine_monai(written)
    if outcome.verdict != ("refused" if case.refused else "right"):
        msg = f"{case.name} must be read rightly or refused: {outcome.verdict}. {outcome.message}"
        raise ValueError(msg)
    here = f"refused: {case.refused[0]}" if case.refused else "right"
    here += f"; warns `{'`, `'.join(outcome.warnings)}`" if outcome.warnings else ""
    return f"| {case.title} | {here} | {_by_simpleitk(case, written)} |\n"


def _by_simpleitk(case: HardCase, written: Written) -> str:
    if written.path.is_file() and not is_volume_file(written.path):
        return "-"  # it reads folders
    outcome = by_simpleitk(written)
    if outcome.verdict == "refused":
        return "refused"
    if case.refused:
        return "reads it"
    return "right" if outcome.verdict == "right" else f"differs: {outcome.message}"


def write(file: Path) -> None:
    """Write the page."""
    logging.disable(logging.WARNING)  # of the libraries that write the studies
    with tempfile.TemporaryDirectory() as folder:
        file.write_text(page(Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
