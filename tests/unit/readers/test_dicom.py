"""DICOM series to array and affine; the oracle is SimpleITK (GDCM) on the same files."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from nibabel.affines import apply_affine
from pydicom.uid import JPEGLSLossless, RLELossless

from spine_monai.data.dicom import write_dicom_series
from spine_monai.readers import read_study
from spine_monai.readers.dicom import read_series
from spine_monai.readers.series import index_study

T2 = {"EchoTime": "100", "RepetitionTime": "3000"}


def read(folder):
    (series,) = index_study(folder)
    return read_series(series)


def files_in(folder):
    return sorted(folder.glob("*.dcm"))


def points_lps(affine, indices):
    return apply_affine(affine, indices) * [-1, -1, 1]


def reversed_along(volume, affine, axes):
    for axis in axes:
        flip = np.eye(4)
        flip[axis, axis], flip[axis, 3] = -1, volume.shape[axis] - 1
        volume, affine = np.flip(volume, axis), affine @ flip
    return volume, affine


def assert_same_place_and_pixels(array, affine, image):
    """Compare with a SimpleITK image, whose indices are (column, row, slice)."""
    np.testing.assert_array_equal(array, sitk.GetArrayFromImage(image).transpose(1, 2, 0))
    last = np.subtract(array.shape, 1)
    corners = [last * c for c in ([0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1])]
    expected = [
        image.TransformIndexToPhysicalPoint([int(c) for c in x[[1, 0, 2]]]) for x in corners
    ]
    np.testing.assert_allclose(points_lps(affine, corners), expected, atol=1e-6)


@pytest.mark.parametrize("axes", [(), (0,), (1,), (2,), (0, 1), (1, 2)], ids=str)
def test_rows_columns_and_slices_may_run_either_way(study, tmp_path, itk_series, axes):
    volume, affine = reversed_along(study.volume, study.ras_from_index, axes)
    write_dicom_series(volume, affine, tmp_path, seed="flipped", attributes=T2)
    assert_same_place_and_pixels(*read(tmp_path), itk_series(tmp_path))


def test_file_names_and_instance_numbers_do_not_matter(dicom_folder, itk_series, edit):
    for number, name in enumerate("cadbe"):
        file = dicom_folder / f"{number + 1:04d}.dcm"
        edit(file, InstanceNumber=(7 * number) % 5)
        file.rename(dicom_folder / name)
    assert_same_place_and_pixels(*read(dicom_folder), itk_series(dicom_folder))


def test_the_bundled_study_lies_where_simpleitk_says(demo_study, itk_series):
    assert_same_place_and_pixels(*read(demo_study), itk_series(demo_study))


def test_a_sheared_stack_keeps_its_shear(dicom_folder, edit):
    for number, file in enumerate(files_in(dicom_folder)):
        header = pydicom.dcmread(file)
        along_column = np.array(header.ImageOrientationPatient[3:], float)
        position = np.array(header.ImagePositionPatient, float) + 1.5 * number * along_column
        edit(file, ImagePositionPatient=[f"{x:.9g}" for x in position])
    affine = read_study(dicom_folder).image.affine.numpy()
    for number, file in enumerate(files_in(dicom_folder)):
        expected = sitk.ReadImage(str(file)).TransformIndexToPhysicalPoint((17, 31, 0))
        np.testing.assert_allclose(points_lps(affine, [31, 17, number]), expected, atol=1e-5)


def test_a_stack_sheared_beyond_60_degrees_is_refused(dicom_folder, edit, assert_refused):
    for number, file in enumerate(files_in(dicom_folder)):
        header = pydicom.dcmread(file)
        along_column = np.array(header.ImageOrientationPatient[3:], float)
        position = np.array(header.ImagePositionPatient, float) + 8.0 * number * along_column
        edit(file, ImagePositionPatient=[f"{x:.9g}" for x in position])
    assert_refused(dicom_folder, "must have three axes at right angles")


def test_rescale_slope_and_intercept_are_those_of_each_slice(dicom_folder, edit, study):
    slopes, intercepts = [1, 2, 0.5, 4, 3], [0, -7, 11, 2.5, -40]
    for file, slope, intercept in zip(files_in(dicom_folder), slopes, intercepts, strict=True):
        edit(file, RescaleSlope=str(slope), RescaleIntercept=str(intercept))
    array, _ = read(dicom_folder)
    np.testing.assert_array_equal(array, study.volume * np.float32(slopes) + intercepts)
    for number, file in enumerate(files_in(dicom_folder)):
        image = sitk.ReadImage(str(file), sitk.sitkFloat32)
        np.testing.assert_array_equal(array[..., number], sitk.GetArrayFromImage(image)[0])


def test_signed_pixels_keep_their_sign(dicom_folder, edit, study):
    for number, file in enumerate(files_in(dicom_folder)):
        signed = (study.volume[..., number].astype("<i2") - 500).tobytes()
        edit(file, PixelRepresentation=1, PixelData=signed)
    np.testing.assert_array_equal(read(dicom_folder)[0], study.volume - 500.0)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=["RLE", "JPEG-LS"])
def test_compressed_slices_decode_to_the_same_bits(dicom_folder, study, syntax):
    for file in files_in(dicom_folder)[1:]:
        dataset = pydicom.dcmread(file)
        dataset.compress(syntax)
        dataset.save_as(file)
    np.testing.assert_array_equal(read(dicom_folder)[0], study.volume)


def test_simpleitk_decodes_what_pydicom_cannot(dicom_folder, edit, study, tmp_path):
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "lossless.dcm"))
    writer.SetCompressor("JPEG")  # JPEG Lossless, for which pydicom needs a plug-in
    writer.UseCompressionOn()
    for number, file in enumerate(files_in(dicom_folder)):
        writer.Execute(sitk.GetImageFromArray(study.volume[..., number]))
        jpeg, dataset = pydicom.dcmread(tmp_path / "lossless.dcm"), pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = jpeg.file_meta.TransferSyntaxUID
        dataset["PixelData"] = jpeg["PixelData"]
        dataset.BitsStored, dataset.HighBit = jpeg.BitsStored, jpeg.HighBit
        dataset.RescaleSlope, dataset.RescaleIntercept = "2.5", "-7"
        dataset.save_as(file)
    array, _ = read(dicom_folder)
    np.testing.assert_array_equal(array, study.volume * np.float32(2.5) - 7)


def test_both_decoders_give_the_same_pixels(dicom_folder, monkeypatch):
    for number, file in enumerate(files_in(dicom_folder)):
        dataset = pydicom.dcmread(file)
        dataset.compress(RLELossless)
        dataset.RescaleSlope, dataset.RescaleIntercept = str(1.5 + number), "-12"
        dataset.save_as(file)
    by_pydicom, _ = read(dicom_folder)
    monkeypatch.setattr(pydicom.Dataset, "pixel_array", property(no_decoder))
    by_simpleitk, _ = read(dicom_folder)
    np.testing.assert_array_equal(by_simpleitk, by_pydicom)


def test_an_uncompressed_slice_has_no_second_decoder(dicom_folder, monkeypatch, assert_refused):
    monkeypatch.setattr(pydicom.Dataset, "pixel_array", property(no_decoder))
    assert_refused(dicom_folder, "must have readable PixelData: RuntimeError")


def no_decoder(dataset):
    msg = f"Unable to decompress the image of {dataset.PatientName}"
    raise RuntimeError(msg)


def test_a_file_cut_short_is_refused(dicom_folder, assert_refused):
    file = dicom_folder / "0003.dcm"
    file.write_bytes(file.read_bytes()[:-600])
    assert_refused(dicom_folder, "0003.dcm must have readable PixelData: ValueError.*copy it again")


def test_a_file_without_pixels_is_refused(dicom_folder, edit, assert_refused):
    edit(dicom_folder / "0002.dcm", PixelData=None)
    assert_refused(dicom_folder, "0002.dcm must have readable PixelData: AttributeError")


@pytest.mark.parametrize(
    ("attributes", "got"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, "got PhotometricInterpretation MONOCHROME1"),
        (
            {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3},
            "PhotometricInterpretation RGB",
        ),
        ({"NumberOfFrames": 2}, "NumberOfFrames 2"),
    ],
)
def test_only_one_grey_frame_a_file_is_read(dicom_folder, edit, assert_refused, attributes, got):
    edit(dicom_folder / "0004.dcm", **attributes)
    assert_refused(dicom_folder, f"0004.dcm must be one MONOCHROME2 frame: .*{got}")


def test_slices_of_two_sizes_are_refused(dicom_folder, edit, assert_refused):
    size = {"Rows": 48, "Columns": 80, "PixelData": bytes(48 * 80 * 2)}
    edit(dicom_folder / "0005.dcm", **size)
    assert_refused(dicom_folder, r"slices of one size: got \[\(48, 80\), \(96, 80\)\]")


@pytest.mark.parametrize(
    ("spacing", "match"),
    [
        (None, r"0002.dcm must have 2 finite values of PixelSpacing: got \[\]"),
        ([0, 2.4], "0002.dcm must have a positive PixelSpacing: got .0.0, 2.4. mm"),
        ([2.8, -2.4], "0002.dcm must have a positive PixelSpacing"),
        ([2.8, 2.5], "must have one PixelSpacing: got .2.8 2.4. to .2.8 2.5."),
    ],
)
def test_an_unusable_pixel_spacing_is_refused(dicom_folder, edit, assert_refused, spacing, match):
    edit(dicom_folder / "0002.dcm", PixelSpacing=spacing)
    assert_refused(dicom_folder, match)


def test_a_slice_without_a_position_is_refused(dicom_folder, edit, assert_refused):
    edit(dicom_folder / "0002.dcm", ImagePositionPatient=None)
    assert_refused(dicom_folder, "0002.dcm must have 3 finite values of ImagePositionPatient")


def test_two_slices_at_one_place_are_refused(dicom_folder, edit, assert_refused):
    double = pydicom.dcmread(dicom_folder / "0002.dcm").ImagePositionPatient
    edit(dicom_folder / "0003.dcm", ImagePositionPatient=double)
    assert_refused(dicom_folder, "must have one slice at each place: two have the same")


def test_a_missing_slice_is_refused(dicom_folder, assert_refused):
    (dicom_folder / "0002.dcm").unlink()
    assert_refused(
        dicom_folder, "evenly spaced slices: .* from 4.00 to 8.00 mm. Is a slice missing"
    )


def test_a_slice_off_by_little_is_no_missing_slice(dicom_folder, edit):
    _, before = read(dicom_folder)
    header = pydicom.dcmread(dicom_folder / "0003.dcm")
    moved = np.array(header.ImagePositionPatient, float) + np.array([0.2, 0, 0])
    edit(dicom_folder / "0003.dcm", ImagePositionPatient=[f"{x:.9g}" for x in moved])
    _, after = read(dicom_folder)
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_the_modality_units_reach_the_volume(dicom_folder, edit_all, study):
    edit_all(dicom_folder, RescaleSlope="2", RescaleIntercept="-100")
    image = read_study(dicom_folder).image
    np.testing.assert_array_equal(image[0].numpy(), study.volume * 2.0 - 100)
