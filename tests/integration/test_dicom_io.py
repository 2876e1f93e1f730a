"""Real DICOM of six vendors: read as SimpleITK reads it, or refused with its reason.

Some folders are copied to ``tests/data/dicom_io``; with SPINE_MONAI_DATA set, all are tested.
None of them is a lumbar sagittal T2 series, so each is refused by the choice, and by its rule.
"""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.encaps import generate_frames

from spine_monai.readers import StudyError, decoder_worker, locate_study
from spine_monai.readers.dicom import read_series
from spine_monai.readers.index import index_study
from spine_monai.readers.pixels import FRAME_KEYWORDS, read_pixels

COPIES = Path(__file__).parents[1] / "data" / "dicom_io"
GIVEN = [Path(given) / "dicom_io" for given in [os.environ.get("SPINE_MONAI_DATA")] if given]
ROOTS = [COPIES, *(root for root in GIVEN if root.is_dir())]
FOLDERS = [
    root / row["dir"] for root in ROOTS for row in json.loads((root / "index.json").read_text())
]
MAX_COPIED_BYTES = 3_000_000
NAMING_VRS = ("PN", "DA", "TM", "DT", "LT", "ST", "UT", "UN")

# Why the choice refuses each folder, and why reading does, or how many slices it reads.
NOT_T2, NOT_MR = "it is not T2-weighted", "it is not an MR image series"
AXIAL = "it is not sagittal but axial"
EXPECTED = {
    "bad_slice_increment_1": (
        NOT_MR,
        "evenly spaced slices: .* 5.00 to 10.00",
    ),
    "bad_slicecount": (NOT_T2, 2),
    "canon_sag": (NOT_T2, 8),
    "ge_anatomical": (NOT_T2, 4),
    "ge_sag_explicit": (NOT_T2, 4),
    "ge_sag_implicit": (NOT_T2, 4),
    "generic_sag": (NOT_T2, 4),
    "hitachi_sag": ("turned 39 degrees", 4),
    "philips_cor": ("it is not sagittal but coronal", 4),
    "rgb": (f"{NOT_MR}|in colour", "must be grey, .*: got RGB"),
    "siemens_enhanced_multiframe": (AXIAL, 8),
    "siemens_sag": (NOT_T2, 4),
    "siemens_spine_axial_1slice": (
        "it is not sagittal but axial",
        "at least 2 slices: got 1 image",
    ),
    "ts_all9_siemens": (
        "its images are mosaics of slices",
        "at least 2 slices: got 9 copies of one",
    ),
    "ts_jpeg2000": (NOT_T2, 4),
    "ts_jpeg_lossless": (NOT_T2, 4),
    "ts_rle": (NOT_T2, 4),
}
in_each_folder = pytest.mark.parametrize(
    "folder", FOLDERS, ids=[f"{f.parents[1].name}-{f.name}" for f in FOLDERS]
)
in_each_root = pytest.mark.parametrize("root", ROOTS, ids=[root.parent.name for root in ROOTS])


@in_each_folder
def test_the_choice_refuses_a_folder_by_its_rule(folder):
    with pytest.raises(StudyError, match=EXPECTED[folder.name][0]):
        locate_study(folder)


@in_each_folder
def test_a_folder_is_read_as_simpleitk_reads_it_or_refused(folder):
    (series,) = index_study(folder)
    expected = EXPECTED[folder.name][1]
    if isinstance(expected, str):
        with pytest.raises(StudyError, match=expected):
            read_series(series)
        return
    reading = read_series(series)
    assert reading.array.shape[2] == len(reading.instances) == expected
    image = _by_simpleitk(list(dict.fromkeys(str(i.path) for i in reading.instances)))
    np.testing.assert_array_equal(reading.array, sitk.GetArrayFromImage(image).transpose(1, 2, 0))
    for row, column, k in [(0, 0, 0), (5, 3, 1), np.subtract(reading.array.shape, 1).tolist()]:
        ours = (reading.affine @ [row, column, k, 1])[:3] * [-1, -1, 1]
        theirs = image.TransformIndexToPhysicalPoint((column, row, k))
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def _by_simpleitk(files):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    image = reader.Execute()
    return image[..., 0] if image.GetDimension() == 4 else image


@in_each_root
def test_nine_transfer_syntaxes_hold_the_same_bits(root):
    folder = root / "ts_all9_siemens"
    expected = pydicom.dcmread(folder / "1.dcm").pixel_array
    (series,) = index_study(folder)
    assert len({_dataset(i.path).file_meta.TransferSyntaxUID for i in series.instances}) == 7
    arrays = read_pixels(series.instances)
    assert arrays.shape[2] == 9
    for number in range(9):
        np.testing.assert_array_equal(arrays[..., number], expected)


def _dataset(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path)


@in_each_root
def test_simpleitk_alone_decodes_all_of_them(root, monkeypatch):
    """As in an installation without any of pydicom's plug-ins."""
    monkeypatch.setattr(decoder_worker, "has_pydicom_decoder", lambda syntax, bits: False)
    expected = pydicom.dcmread(root / "ts_all9_siemens" / "1.dcm").pixel_array
    for number in range(4, 10):
        dataset = pydicom.dcmread(root / "ts_all9_siemens" / f"{number}.dcm")
        (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
        attributes = {keyword: dataset[keyword].value for keyword in FRAME_KEYWORDS}
        syntax = str(dataset.file_meta.TransferSyntaxUID)
        array = decoder_worker.decode_frame({"syntax": syntax, "attributes": attributes}, frame)
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


@in_each_root
def test_the_malformed_spine_slice_is_read_although_pydicom_finds_it_empty(root):
    folder = root / "siemens_spine_axial_1slice"
    (series,) = index_study(folder)
    (instance,) = series.instances
    assert "PixelData" not in _dataset(instance.path)
    image = sitk.ReadImage(str(instance.path))
    array = read_pixels([instance])
    assert array.max() > 100
    np.testing.assert_array_equal(array[..., 0], sitk.GetArrayFromImage(image)[0])


def test_the_copies_are_small_and_name_nobody():
    files = [file for file in COPIES.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= MAX_COPIED_BYTES
    for file in COPIES.rglob("*.dcm"):
        elements = list(_dataset(file))
        assert not [
            e.keyword for e in elements if e.VR in ("PN", "DA", "TM", "DT", "LT", "ST", "UT")
        ]
        assert not [e.tag for e in elements if e.tag.is_private]


def test_all_given_folders_have_an_expectation():
    assert {folder.name for folder in FOLDERS} <= set(EXPECTED)
