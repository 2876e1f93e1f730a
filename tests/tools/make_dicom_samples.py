"""Copy a few real DICOM folders into the tests, without what could name a person or a hospital.

python tests/tools/make_dicom_samples.py "$SPINE_MONAI_DATA/dicom_io" tests/data/dicom_io

The pixels stay byte for byte as they are, each in its transfer syntax; of the header only the
attributes stay that reading and choice need. ``NOTICE`` beside the copies holds their licences.
"""

import io
import json
import sys
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from spine_monai.readers.keywords import CONTRAST_KEYWORDS, GRID_KEYWORDS, PIXEL_KEYWORDS

FOLDERS = (*("ts_all9_siemens", "siemens_spine_axial_1slice", "canon_sag", "hitachi_sag", "rgb"),)
KEPT = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "SeriesNumber", "AcquisitionNumber", "Modality", "Manufacturer"),
    *(*GRID_KEYWORDS, *PIXEL_KEYWORDS, *CONTRAST_KEYWORDS),
    *("HighBit", "PlanarConfiguration", "PixelData"),
)
END_OF_PIXELS = b"\xfe\xff\xdd\xe0\0\0\0\0"


def copy(source: Path, target: Path) -> None:
    """Copy one file, stripped; one that lacks the end marker of its pixels lacks it again."""
    content = source.read_bytes()
    dataset = pydicom.dcmread(io.BytesIO(content))
    lacks_end = "PixelData" not in dataset
    if lacks_end:
        dataset = pydicom.dcmread(io.BytesIO(content + END_OF_PIXELS))
    kept = _stripped(dataset)
    target.parent.mkdir(parents=True, exist_ok=True)
    syntax = dataset.file_meta.TransferSyntaxUID
    order = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
    pydicom.dcmwrite(target, kept, enforce_file_format=True, **order)
    if lacks_end:
        target.write_bytes(target.read_bytes().removesuffix(END_OF_PIXELS))


def _stripped(dataset: Dataset) -> Dataset:
    kept = Dataset()
    kept.file_meta = pydicom.dataset.FileMetaDataset()
    kept.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    for keyword in KEPT:
        if keyword in dataset:
            kept[keyword] = dataset[keyword]
    return kept


def main(source: Path, target: Path) -> None:
    """Copy the folders, and their rows of the index."""
    index = json.loads((source / "index.json").read_text())
    rows = [row for row in index if row["dir"] in FOLDERS]
    for row in rows:
        for file in sorted((source / row["dir"]).iterdir()):
            copy(file, target / row["dir"] / file.name)
    (target / "index.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
