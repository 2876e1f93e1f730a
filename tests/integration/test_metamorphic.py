"""The demo study written in other ways: through the command line, its landmarks move rigidly.

The studies are rewritten with pydicom, numpy and nibabel alone, so that an error of the package's
own geometry cannot cancel out.
"""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid
from pydicom.valuerep import format_number_as_ds

from spine_monai.cli import main

IN_PLANE_MM = 0.1
RESCALED_MM = 4.0  # another spacing is a patient of another size: docs/decisions/0006
ANGLE = np.radians(20)


def rotation(axis):
    first, second = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(ANGLE)
    matrix[first, second], matrix[second, first] = -np.sin(ANGLE), np.sin(ANGLE)
    return matrix


def vectors(dataset):
    row, column = np.array(dataset.ImageOrientationPatient, dtype=float).reshape(2, 3)
    return np.array(dataset.ImagePositionPatient, dtype=float), row, column


def set_vectors(dataset, position, row, column):
    dataset.ImagePositionPatient = [format_number_as_ds(float(v)) for v in position]
    dataset.ImageOrientationPatient = [format_number_as_ds(float(v)) for v in (*row, *column)]


def reverse_slices(datasets):
    """The same slices, numbered and named the other way round."""
    for number, dataset in enumerate(reversed(datasets)):
        dataset.InstanceNumber = number + 1
    return datasets[::-1]


def flip_rows(datasets):
    for dataset in datasets:
        position, row, column = vectors(dataset)
        step = column * float(dataset.PixelSpacing[0])
        set_vectors(dataset, position + step * (dataset.Rows - 1), row, -column)
        dataset.PixelData = dataset.pixel_array[::-1].tobytes()
    return datasets


def flip_columns(datasets):
    for dataset in datasets:
        position, row, column = vectors(dataset)
        step = row * float(dataset.PixelSpacing[1])
        set_vectors(dataset, position + step * (dataset.Columns - 1), -row, column)
        dataset.PixelData = dataset.pixel_array[:, ::-1].tobytes()
    return datasets


def rotate(axis):
    def rewrite(datasets):
        for dataset in datasets:
            set_vectors(dataset, *(rotation(axis) @ vector for vector in vectors(dataset)))
        return datasets

    return rewrite


def scale(factor):
    def rewrite(datasets):
        for dataset in datasets:
            position, row, column = vectors(dataset)
            set_vectors(dataset, position * factor, row, column)
            spacing = [format_number_as_ds(float(v) * factor) for v in dataset.PixelSpacing]
            dataset.PixelSpacing = spacing
        return datasets

    return rewrite


IDENTITY = np.eye(3)
DICOM = {
    "as_it_is": (lambda datasets: datasets, IDENTITY),
    "slices_reversed": (reverse_slices, IDENTITY),
    "rows_flipped": (flip_rows, IDENTITY),
    "columns_flipped": (flip_columns, IDENTITY),
    "rotated_about_x": (rotate(0), rotation(0)),
    "rotated_about_y": (rotate(1), rotation(1)),
    "rotated_about_z": (rotate(2), rotation(2)),
    "scaled_up": (scale(1.15), 1.15 * IDENTITY),
    "scaled_down": (scale(0.9), 0.9 * IDENTITY),
}
NIFTI = ("LIP", "RAS", "IPR")


def write_dicom(series, folder, rewrite):
    datasets = [pydicom.dcmread(path) for path in sorted(series.iterdir())]
    folder.mkdir()
    for number, dataset in enumerate(rewrite(datasets)):
        dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[folder.name])
        dataset.save_as(folder / f"{number}.dcm")


def write_nifti(series, path, codes):
    datasets = [pydicom.dcmread(file) for file in sorted(series.iterdir())]
    first, row, column = vectors(datasets[0])
    step = (vectors(datasets[-1])[0] - first) / (len(datasets) - 1)
    between_rows, between_columns = map(float, datasets[0].PixelSpacing)
    lps = np.eye(4)
    lps[:3] = np.stack([row * between_columns, column * between_rows, step, first], axis=1)
    array = np.stack([dataset.pixel_array.T for dataset in datasets], axis=-1)
    image = nib.Nifti1Image(array, np.diag([-1, -1, 1, 1]) @ lps)
    wanted = nib.orientations.axcodes2ornt(codes)
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), wanted)
    nib.save(image.as_reoriented(turn), path)


@pytest.fixture(scope="module")
def points(tmp_path_factory, demo_series):
    """LPS points of every rewritten study, all in one call of the command line."""
    folder, out = tmp_path_factory.mktemp("studies"), tmp_path_factory.mktemp("out")
    for name, (rewrite, _) in DICOM.items():
        write_dicom(demo_series, folder / name, rewrite)
    for codes in NIFTI:
        write_nifti(demo_series, folder / f"{codes}.nii.gz", codes)
    studies = [str(path) for path in sorted(folder.iterdir())]
    assert main(["localize", *studies, "--out", str(out)]) == 0
    records = [json.loads(path.read_text()) for path in out.glob("*/landmarks.json")]
    return {Path(r["source"]["path"]).name.split(".")[0]: points_of(r) for r in records}


def points_of(record):
    return np.array([landmark["position_lps_mm"] for landmark in record["landmarks"]])


@pytest.mark.parametrize("name", [*DICOM, *NIFTI])
def test_landmarks_move_rigidly_with_the_study(points, name):
    moved_by = DICOM[name][1] if name in DICOM else IDENTITY
    expected = points["as_it_is"] @ moved_by.T
    across = moved_by @ [1.0, 0.0, 0.0] / np.linalg.norm(moved_by[:, 0])
    error = points[name] - expected
    through_plane = error @ across
    in_plane = np.linalg.norm(error - through_plane[:, None] * across, axis=1)
    assert in_plane.max() < (RESCALED_MM if name.startswith("scaled") else IN_PLANE_MM)
    assert np.abs(through_plane).max() <= 3.6


def test_the_rewritten_studies_are_not_all_the_same(points):
    assert np.linalg.norm(points["rotated_about_x"] - points["as_it_is"], axis=1).max() > 20
    assert len(points) == len(DICOM) + len(NIFTI)
