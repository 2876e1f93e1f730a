"""The slice and its place; oracles are nibabel, SimpleITK and the formula of the DICOM standard."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, ScaleIntensityd
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from spine_monai.data.dicom import write_dicom_series
from spine_monai.readers import read_study
from spine_monai.transforms import CentralSlicesd, LoadSpineStudyd, SagittalSliced
from spine_monai.transforms.slices import upright

# Row 2 of 24 is high up, column 3 of 20 far in front, slice 1 of 5 on the patient's left.
ANTERIOR_SUPERIOR = (2, 3, 1)
T2 = {"EchoTime": "100", "RepetitionTime": "3000"}


def one_bright_pixel():
    """A volume that nibabel calls IPR, with one bright pixel in front at the top."""
    volume = np.zeros((24, 20, 5), np.uint16)
    volume[ANTERIOR_SUPERIOR] = 1000
    affine = nib.affines.from_matvec(
        np.array([[0, 0, 4.0], [0, -2.4, 0], [-2.8, 0, 0]]), [5.0, 40.0, -30.0]
    )
    assert "".join(nib.aff2axcodes(affine)) == "IPR"
    return volume, affine


def reversed_along(volume, affine, axes):
    for axis in axes:
        flip = np.eye(4)
        flip[axis, axis], flip[axis, 3] = -1, volume.shape[axis] - 1
        volume, affine = np.flip(volume, axis), affine @ flip
    return volume, affine


def sliced(path, **item):
    return SagittalSliced("image")(LoadSpineStudyd("image")({"image": path, **item}))


def bright_index(image):
    return tuple(int(i) for i in np.unravel_index(int(image.argmax()), image.shape))


@pytest.mark.parametrize("codes", ["LIP", "RAS", "IPR", "PSL", "SAL"])
def test_a_high_and_anterior_pixel_has_a_low_row_and_column_in_nifti(tmp_path, codes):
    image = nib.Nifti1Image(*one_bright_pixel())
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    nib.save(image.as_reoriented(turn), tmp_path / "volume.nii")
    volume = upright(read_study(tmp_path / "volume.nii").image)
    assert bright_index(volume[0]) == ANTERIOR_SUPERIOR
    assert "".join(nib.aff2axcodes(volume.affine.numpy())) == "IPR"
    np.testing.assert_allclose(volume.affine, image.affine, atol=1e-4)


@pytest.mark.parametrize("axes", [(), (0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_a_high_and_anterior_pixel_has_a_low_row_and_column_in_dicom(tmp_path, axes):
    volume, affine = reversed_along(*one_bright_pixel(), axes)
    write_dicom_series(volume, affine, tmp_path, seed="bright", attributes=T2)
    item = sliced(tmp_path, slice_index=ANTERIOR_SUPERIOR[2])
    assert bright_index(item["image"][0]) == ANTERIOR_SUPERIOR[:2]


def test_an_oblique_study_is_upright_too(pristine_folder):
    volume = upright(read_study(pristine_folder).image)
    assert "".join(nib.aff2axcodes(volume.affine.numpy())) == "IPR"


def test_the_middle_slice_is_taken_where_none_is_named(pristine_folder):
    item = sliced(pristine_folder)
    assert item["slice"]["index"] == 2
    assert item["image"].shape == (1, 96, 80)
    np.testing.assert_array_equal(
        item["image"].numpy(), upright(read_study(pristine_folder).image)[..., 2].numpy()
    )
    assert torch.equal(item["native_image"], item["image"])


def test_slices_are_counted_towards_the_right(pristine_folder):
    """LPS x falls towards the right."""
    x_lps = [
        -float(sliced(pristine_folder, slice_index=index)["image"].affine[0, 3])
        for index in range(5)
    ]
    assert x_lps == sorted(x_lps, reverse=True)


@pytest.mark.parametrize("axes", [(), (0,), (1,), (2,)], ids=str)
@pytest.mark.parametrize("index", [0, 3])
def test_the_frame_is_that_of_the_named_dicom_instance(study, tmp_path, axes, index):
    """Equation C.7.6.2.1-1 of DICOM PS3.3, from the header of the instance that is named."""
    volume, affine = reversed_along(study.volume, study.ras_from_index, axes)
    files = write_dicom_series(volume, affine, tmp_path, seed="frame", attributes=T2)
    item = sliced(tmp_path, slice_index=index)
    headers = {(h := pydicom.dcmread(f)).SOPInstanceUID: h for f in files}
    header = headers[item["slice"]["SOPInstanceUID"]]
    along_row, along_column = np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3))
    between_rows, between_columns = map(float, header.PixelSpacing)
    for column, row in ((0, 0), (79, 0), (0, 95), (33, 51)):
        expected = np.array(header.ImagePositionPatient, float)
        expected = expected + along_row * between_columns * column
        expected = expected + along_column * between_rows * row
        got = item["slice"]["lps_from_column_row"] @ [column, row, 0, 1]
        np.testing.assert_allclose(got[:3], expected, atol=1e-5)
    assert (item["slice"]["rows"], item["slice"]["columns"]) == (header.Rows, header.Columns)
    stored, shown = np.sort(header.pixel_array, axis=None), np.sort(item["image"], axis=None)
    np.testing.assert_array_equal(shown, stored)


@pytest.mark.parametrize("codes", ["LIP", "RAS", "ASR"])
def test_the_frame_of_a_volume_file_is_upright(tmp_path, codes):
    image = nib.Nifti1Image(*one_bright_pixel())
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    stored = image.as_reoriented(turn)
    nib.save(stored, tmp_path / "volume.nii.gz")
    item = sliced(tmp_path / "volume.nii.gz", slice_index=1)
    where = np.unravel_index(stored.get_fdata().argmax(), stored.shape)
    expected = nib.affines.apply_affine(stored.affine, where) * [-1, -1, 1]
    row, column = bright_index(item["image"][0])
    got = item["slice"]["lps_from_column_row"] @ [column, row, 0, 1]
    np.testing.assert_allclose(got[:3], expected, atol=1e-4)
    assert (row, column) == ANTERIOR_SUPERIOR[:2]
    assert (item["slice"]["rows"], item["slice"]["columns"]) == (24, 20)
    assert "SOPInstanceUID" not in item["slice"]


def test_the_slice_keeps_its_place_in_the_patient(pristine_folder, itk_series):
    """The image's own affine, against SimpleITK at the pixel of the same brightness."""
    image = sliced(pristine_folder, slice_index=4)["image"]
    oracle = itk_series(pristine_folder)
    points_ij = [(0, 0), (95, 0), (0, 79), (40, 20)]
    for i, j in points_ij:
        point_lps = nib.affines.apply_affine(image.affine.numpy(), (i, j, 0)) * [-1, -1, 1]
        index = oracle.TransformPhysicalPointToIndex(point_lps)
        np.testing.assert_allclose(
            oracle.TransformIndexToPhysicalPoint(index), point_lps, atol=1e-4
        )
        assert oracle[index] == image[0, i, j]


@pytest.mark.parametrize("index", [-1, 5])
def test_a_slice_outside_the_volume_is_refused(pristine_folder, index):
    with pytest.raises(ValueError, match=f"within the 5 slices of the volume: got {index}"):
        sliced(pristine_folder, slice_index=index)


def test_each_key_is_sliced_and_a_missing_one_may_be_allowed():
    volume, affine = one_bright_pixel()
    tensor = MetaTensor(torch.from_numpy(volume.astype(np.float32))[None], affine=affine)
    item = SagittalSliced(["image", "mask"], allow_missing_keys=True)({"mask": tensor})
    assert item["mask"].shape == (1, 24, 20)
    assert "native_mask" in item
    assert "image" not in item


def volume_of(count, step_mm):
    """A volume whose slices are told apart by their brightness."""
    pixels = np.broadcast_to(np.arange(count, dtype=np.float32), (12, 10, count)).copy()
    affine = nib.affines.from_matvec(
        np.array([[0, 0, step_mm], [0, -2.4, 0], [-2.8, 0, 0]]), [5.0, 40.0, -30.0]
    )
    return MetaTensor(torch.from_numpy(pixels)[None], affine=affine)


@pytest.mark.parametrize(
    ("count", "step_mm", "expected"),
    [
        (15, 4.0, [4, 5, 6, 7, 8, 9, 10]),
        (16, 4.0, [5, 6, 7, 8, 9, 10, 11]),
        (3, 4.0, [0, 1, 2]),
        (40, 1.0, [11, 14, 17, 20, 23, 26, 29]),
    ],
)
def test_the_central_slices_are_taken_in_order(count, step_mm, expected):
    items = CentralSlicesd("image", count=7)({"image": volume_of(count, step_mm), "id": "a"})
    assert [item["slice"]["index"] for item in items] == expected
    assert [float(item["image"].mean()) for item in items] == expected
    assert {item["slice"]["count"] for item in items} == {count}
    assert {item["id"] for item in items} == {"a"}


def test_each_of_the_central_slices_equals_that_slice_taken_alone(pristine_folder):
    loaded = LoadSpineStudyd("image")({"image": pristine_folder})
    items = CentralSlicesd("image", count=3)(loaded)
    assert len(items) == 3
    for item in items:
        alone = sliced(pristine_folder, slice_index=item["slice"]["index"])
        assert torch.equal(item["image"], alone["image"])
        assert torch.equal(item["image"].affine, alone["image"].affine)
        assert item["slice"]["SOPInstanceUID"] == alone["slice"]["SOPInstanceUID"]


def test_a_named_slice_is_the_only_one():
    items = CentralSlicesd("image")({"image": volume_of(9, 4.0), "slice_index": 1})
    assert [item["slice"]["index"] for item in items] == [1]
    with pytest.raises(ValueError, match="within the 9 slices of the volume: got 9"):
        CentralSlicesd("image")({"image": volume_of(9, 4.0), "slice_index": 9})


def test_the_transforms_that_follow_see_each_slice_and_the_loader_makes_one_batch():
    steps = Compose([CentralSlicesd("image", count=5), ScaleIntensityd("image", factor=1.0)])
    dataset = Dataset([{"image": volume_of(11, 4.0)}], transform=steps)
    batch = next(iter(DataLoader(dataset, batch_size=1)))
    assert batch["image"].shape == (5, 1, 12, 10)
