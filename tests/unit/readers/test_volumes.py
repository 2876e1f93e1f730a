"""Volume files; nibabel is the oracle for NIfTI, SimpleITK for MHA and NRRD and NIfTI's place."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from spine_monai.readers import StudyError
from spine_monai.readers.volumes import is_volume_file, read_volume, volume_stem

# Where fields of the NIfTI-1 header lie.
DIM, PIXDIM, XYZT_UNITS, QUATERN_B = 40, 76, 123, 256


def write_nifti(path, study, *, sform=1, qform=0):
    image = nib.Nifti1Image(study.volume, None)
    image.set_sform(study.ras_from_index, sform)
    image.set_qform(study.ras_from_index, qform)
    nib.save(image, path)
    return path


def write_itk(path, study):
    image = sitk.GetImageFromArray(study.volume.T)
    lps_from_index = np.diag([-1, -1, 1, 1]) @ study.ras_from_index
    spacing = np.linalg.norm(lps_from_index[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetDirection((lps_from_index[:3, :3] / spacing).ravel())
    image.SetOrigin(lps_from_index[:3, 3])
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def assert_placed_as_by_simpleitk(path, array, affine):
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(array, sitk.GetArrayFromImage(image).T)
    for index in ((0, 0, 0), (7, 0, 0), (0, 9, 0), (0, 0, 3), (5, 11, 2)):
        expected = np.array(image.TransformIndexToPhysicalPoint(index))
        got = nib.affines.apply_affine(affine, index) * [-1, -1, 1]
        np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("codes", ["LIP", "RAS", "IPR", "PSL"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_lies_where_nibabel_and_simpleitk_say(study, tmp_path, codes, suffix):
    image = nib.Nifti1Image(study.volume, study.ras_from_index)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    image, path = image.as_reoriented(turn), tmp_path / f"volume{suffix}"
    nib.save(image, path)
    reading = read_volume(path)
    array, affine = reading.array, reading.affine
    assert "".join(nib.aff2axcodes(affine)) == codes
    np.testing.assert_allclose(affine, nib.load(path).affine)
    np.testing.assert_array_equal(array, image.get_fdata())
    assert_placed_as_by_simpleitk(path, array, affine)


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd"])
def test_mha_and_nrrd_lie_where_simpleitk_says(study, tmp_path, suffix):
    path = write_itk(tmp_path / f"volume{suffix}", study)
    reading = read_volume(path)
    array, affine = reading.array, reading.affine
    assert array.dtype == np.float32
    assert_placed_as_by_simpleitk(path, array, affine)
    np.testing.assert_allclose(affine, study.ras_from_index, atol=1e-9)


def test_the_sform_counts_before_the_qform(study, tmp_path):
    image = nib.Nifti1Image(study.volume, None)
    image.set_qform(np.diag([5.0, 5.0, 5.0, 1.0]), 1)
    image.set_sform(study.ras_from_index, 2)
    nib.save(image, tmp_path / "both.nii")
    reading = read_volume(tmp_path / "both.nii")
    np.testing.assert_allclose(reading.affine, study.ras_from_index, rtol=1e-6)


def test_the_qform_counts_where_it_is_alone(study, tmp_path):
    reading = read_volume(write_nifti(tmp_path / "q.nii", study, sform=0, qform=1))
    np.testing.assert_allclose(reading.affine, study.ras_from_index, atol=1e-4)
    assert not reading.warnings


def test_the_scale_of_a_nifti_file_is_applied(study, tmp_path):
    image = nib.Nifti1Image(study.volume.astype(np.int16), study.ras_from_index)
    image.header.set_slope_inter(0.5, -30.0)
    nib.save(image, tmp_path / "scaled.nii.gz")
    array = read_volume(tmp_path / "scaled.nii.gz").array
    np.testing.assert_allclose(array, study.volume * 0.5 - 30.0)
    assert array.flags.writeable


def test_a_nifti_file_without_a_place_is_refused(study, tmp_path):
    path = write_nifti(tmp_path / "nowhere.nii", study, sform=0, qform=0)
    with pytest.raises(StudyError, match=r"sform_code and qform_code are both 0\. Convert it"):
        read_volume(path)


def test_a_nifti_file_whose_pixdim_is_no_number_is_refused(study, tmp_path):
    path = write_nifti(tmp_path / "nan.nii", study)
    content = bytearray(path.read_bytes())
    content[PIXDIM + 8 : PIXDIM + 12] = struct.pack("<f", np.nan)
    path.write_bytes(content)
    with pytest.raises(StudyError, match=r"must have positive pixdim: got \[2.79.*, nan, 4.0\]"):
        read_volume(path)


@pytest.mark.parametrize("shape", [(8, 6, 4, 2), (8, 6)])
def test_a_nifti_file_that_is_no_volume_is_refused(tmp_path, shape):
    nib.save(nib.Nifti1Image(np.ones(shape, np.float32), np.eye(4)), tmp_path / "other.nii.gz")
    with pytest.raises(StudyError, match=r"one three-dimensional image: got shape \(8, 6"):
        read_volume(tmp_path / "other.nii.gz")


def test_a_nifti_file_cut_short_is_refused(study, tmp_path):
    path = write_nifti(tmp_path / "cut.nii.gz", study)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(StudyError, match=r"must be a readable NIfTI file: EOFError\. Copy it"):
        read_volume(path)


def test_an_uncompressed_nifti_file_cut_short_is_refused(study, tmp_path):
    path = write_nifti(tmp_path / "cut.nii", study)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(StudyError, match="must be as long as its header says: expected"):
        read_volume(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"not an image", gzip.compress(b"not an image")],
    ids=["empty", "no gzip", "gzip of no image"],
)
def test_a_file_that_is_no_nifti_is_refused(tmp_path, content):
    (tmp_path / "no.nii.gz").write_bytes(content)
    with pytest.raises(StudyError, match=r"no\.nii\.gz must be a readable NIfTI file"):
        read_volume(tmp_path / "no.nii.gz")


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_an_itk_file_cut_short_is_refused(study, tmp_path, suffix):
    path = write_itk(tmp_path / f"cut{suffix}", study)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(
        StudyError, match=r"must be a readable MHA or NRRD file of .*the decoder stopped .* Copy it"
    ):
        read_volume(path)


@pytest.mark.parametrize("shape", [(6, 8), (2, 4, 6, 8)])
def test_an_itk_file_that_is_no_volume_is_refused(tmp_path, shape):
    image = sitk.GetImageFromArray(np.ones(shape, np.float32), isVector=False)
    sitk.WriteImage(image, str(tmp_path / "other.mha"))
    with pytest.raises(StudyError, match=r"one three-dimensional grey image: got size 8 x 6"):
        read_volume(tmp_path / "other.mha")


def test_the_name_says_whether_a_file_is_a_volume(tmp_path):
    names = ["a.nii", "a.nii.gz", "A.NII.GZ", "a.mha", "a.mhd", "a.nrrd"]
    assert all(is_volume_file(tmp_path / name) for name in names)
    assert not any(
        is_volume_file(tmp_path / name) for name in ["a.dcm", "nii", "a.gz", "a.nii.txt"]
    )


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("sub-011_t2.nii.gz", "sub-011_t2"),
        ("A.B.NII", "A.B"),
        ("x.nrrd", "x"),
        ("0001.dcm", "0001"),
    ],
)
def test_the_stem_of_a_volume_is_its_name_without_suffix(tmp_path, name, stem):
    assert volume_stem(tmp_path / name) == stem


def test_a_nifti_file_with_a_zero_pixdim_is_refused(study, tmp_path):
    path = write_nifti(tmp_path / "zero.nii", study, sform=0, qform=1)
    content = bytearray(path.read_bytes())
    content[PIXDIM + 8 : PIXDIM + 12] = struct.pack("<f", 0.0)
    path.write_bytes(content)
    with pytest.raises(StudyError, match=r"zero.nii must be a readable NIfTI file"):
        read_volume(path)


def test_a_damaged_nifti_file_is_refused(study, tmp_path):
    path = write_nifti(tmp_path / "bad.nii.gz", study)
    content = bytearray(path.read_bytes())
    content[1000:1008] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(StudyError, match="must be a readable NIfTI file"):
        read_volume(path)


def test_a_complex_nifti_file_is_refused(tmp_path):
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.complex64), np.diag([4.0, 1, 1, 1]))
    nib.save(image, tmp_path / "complex.nii")
    with pytest.raises(StudyError, match="must hold grey values: got complex64"):
        read_volume(tmp_path / "complex.nii")


def test_a_colour_volume_is_refused(tmp_path):
    pixels = np.arange(180, dtype=np.uint8).reshape(3, 4, 5, 3)
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(tmp_path / "c.mha"))
    with pytest.raises(StudyError, match=r"grey image: got size \[5, 4, 3\], 3 values a pixel"):
        read_volume(tmp_path / "c.mha")


def poke(path, offset, content):
    """Overwrite bytes of an uncompressed file."""
    data = bytearray(path.read_bytes())
    data[offset : offset + len(content)] = content
    path.write_bytes(data)
    return path


def codes(path):
    return [entry["code"] for entry in read_volume(path).warnings]


@pytest.mark.parametrize("shape", [(8, 6, 4, 1), (8, 6, 4, 1, 1)])
def test_one_volume_in_more_dimensions_is_read(tmp_path, shape):
    pixels = np.arange(192, dtype=np.int16).reshape(shape)
    nib.save(nib.Nifti1Image(pixels, np.diag([1.0, 2, 3, 1])), tmp_path / "4d.nii.gz")
    reading = read_volume(tmp_path / "4d.nii.gz")
    np.testing.assert_array_equal(reading.array, pixels.reshape(8, 6, 4))
    np.testing.assert_array_equal(reading.affine, np.diag([1, 2, 3, 1]))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_grey_type_is_read(tmp_path, dtype, suffix):
    pixels = np.arange(60).reshape(5, 4, 3).astype(dtype)
    path = tmp_path / f"typed{suffix}"
    nib.save(nib.Nifti1Image(pixels, np.diag([1.0, 2, 3, 1])), path)
    array = read_volume(path).array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, pixels)


def test_nifti_2_is_read(study, tmp_path):
    nib.save(nib.Nifti2Image(study.volume, study.ras_from_index), tmp_path / "two.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "two.nii").array, study.volume)


def test_a_qform_elsewhere_is_warned_of(study, tmp_path):
    elsewhere = study.ras_from_index.copy()
    elsewhere[:3, 3] += [0, 7, 0]
    image = nib.Nifti1Image(study.volume, None)
    image.set_sform(study.ras_from_index, 2)
    image.set_qform(elsewhere, 1)
    nib.save(image, tmp_path / "two_places.nii")
    assert codes(tmp_path / "two_places.nii") == ["qform_differs"]
    assert (
        "differ by up to 7.0 mm" in read_volume(tmp_path / "two_places.nii").warnings[0]["message"]
    )
    path = write_nifti(tmp_path / "one_place.nii", study, sform=1, qform=1)
    assert not codes(path)


def test_a_qform_that_is_no_rotation_is_warned_of(study, tmp_path):
    path = write_nifti(tmp_path / "no_rotation.nii", study, sform=1, qform=1)
    assert codes(poke(path, QUATERN_B, struct.pack("<3f", 0.9, 0.9, 0.9))) == ["qform_differs"]


def test_pixdim_against_the_sform_is_warned_of(study, tmp_path):
    path = write_nifti(tmp_path / "pixdim.nii", study)
    assert codes(poke(path, PIXDIM + 4, struct.pack("<f", 1.0))) == ["pixdim_differs"]


@pytest.mark.parametrize("unit", [1, 3])
def test_lengths_in_another_unit_are_refused(study, tmp_path, unit):
    path = write_nifti(tmp_path / "unit.nii", study)
    with pytest.raises(StudyError, match=f"lengths in mm: xyzt_units says {unit} "):
        read_volume(poke(path, XYZT_UNITS, bytes([unit])))
    assert read_volume(poke(path, XYZT_UNITS, bytes([0]))).array.shape == study.volume.shape


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_longer_than_its_header_says_is_refused(study, tmp_path, suffix):
    """Its header may be damaged: with one slice less it would be read in silence."""
    path = write_nifti(tmp_path / "longer.nii", study)
    poke(path, DIM + 6, struct.pack("<h", 4))
    if suffix == ".nii.gz":
        path = tmp_path / "longer.nii.gz"
        path.write_bytes(gzip.compress((tmp_path / "longer.nii").read_bytes()))
    with pytest.raises(StudyError, match=r"as long as its header says: expected 61792 .*96, 80, 4"):
        read_volume(path)


def test_a_damaged_checksum_is_found(study, tmp_path):
    path = write_nifti(tmp_path / "checksum.nii.gz", study)
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(StudyError, match="must be a readable NIfTI file: BadGzipFile"):
        read_volume(path)


def test_a_size_that_the_file_does_not_have_is_refused_before_memory_is_asked_for(study, tmp_path):
    path = poke(
        write_nifti(tmp_path / "huge.nii", study), DIM + 2, struct.pack("<3h", *[32000] * 3)
    )
    with pytest.raises(StudyError, match=r"at most 268435456 voxels: got shape \(32000, 32000"):
        read_volume(path)
    poke(path, DIM + 2, struct.pack("<3h", 600, 600, 600))
    with pytest.raises(StudyError, match=r"as long as its header says: expected 432000352"):
        read_volume(path)


def test_a_compressed_file_that_unpacks_to_much_more_is_not_unpacked(study, tmp_path):
    path = write_nifti(tmp_path / "bomb.nii", study)
    bomb = tmp_path / "bomb.nii.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as stream:
        stream.write(path.read_bytes())
        for _ in range(40):
            stream.write(bytes(1 << 20))
    with pytest.raises(StudyError, match=r"expected 77152 bytes, got \d{7} or more"):
        read_volume(bomb)


def test_a_cifti_file_is_refused(tmp_path):
    axes = (nib.cifti2.SeriesAxis(0, 1, 2), nib.cifti2.ScalarAxis(["a", "b", "c"]))
    nib.save(nib.Cifti2Image(np.ones((2, 3), np.float32), axes), tmp_path / "c.dtseries.nii")
    with pytest.raises(StudyError, match="one three-dimensional image: got Cifti2Image"):
        read_volume(tmp_path / "c.dtseries.nii")


def test_values_beyond_float32_become_infinite_without_a_warning(tmp_path):
    nib.save(nib.Nifti1Image(np.full((3, 4, 5), 1e300), np.eye(4)), tmp_path / "large.nii")
    assert np.isinf(read_volume(tmp_path / "large.nii").array).all()
