"""Pixels of DICOM images; the oracle is SimpleITK (GDCM), or the numbers that were written."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from fuzz.elements import with_value
from pydicom.data import get_testdata_file
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from spine_monai.readers import StudyError, pixels, read_study
from spine_monai.readers.index import index_study
from spine_monai.readers.pixels import read_pixels


def instances_in(folder):
    return [i for part in index_study(folder) for i in part.instances]


def read(folder):
    """Pixels in the order of the slices."""
    return read_pixels(sorted(instances_in(folder), key=lambda i: i.height_mm))


def files_in(folder):
    return sorted(folder.glob("*.dcm"))


def assert_as_by_simpleitk(array, folder):
    for number, file in enumerate(files_in(folder)):
        image = sitk.ReadImage(str(file), sitk.sitkFloat32)
        np.testing.assert_array_equal(array[..., number], sitk.GetArrayFromImage(image)[0])


def rewrite(folder, change):
    for number, file in enumerate(files_in(folder)):
        dataset = pydicom.dcmread(file)
        change(number, dataset)
        dataset.save_as(file, enforce_file_format=True)


def test_rescale_slope_and_intercept_are_those_of_each_slice(dicom_folder, edit, study):
    slopes, intercepts = [1, 2, 0.5, 4, 3], [0, -7, 11, 2.5, -40]
    for file, slope, intercept in zip(files_in(dicom_folder), slopes, intercepts, strict=True):
        edit(file, RescaleSlope=str(slope), RescaleIntercept=str(intercept))
    array = read(dicom_folder)
    np.testing.assert_array_equal(array, study.volume * np.float32(slopes) + intercepts)
    assert_as_by_simpleitk(array, dicom_folder)


def test_a_fractional_slope_is_not_truncated(dicom_folder, edit_all, edit, study):
    edit_all(dicom_folder, RescaleSlope="0.1", RescaleIntercept="0")
    edit(dicom_folder / "0001.dcm", RescaleSlope="1")
    array = read(dicom_folder)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array[..., 1:], study.volume[..., 1:] * np.float32(0.1))


def test_a_slope_of_zero_is_refused(dicom_folder, edit):
    edit(dicom_folder / "0002.dcm", RescaleSlope="0")
    with pytest.raises(StudyError, match=r"0002.dcm must have a RescaleSlope that is not zero"):
        read(dicom_folder)


def test_signed_pixels_keep_their_sign(dicom_folder, study):
    def make_signed(number, dataset):
        dataset.PixelRepresentation = 1
        dataset.PixelData = (study.volume[..., number].astype("<i2") - 500).tobytes()

    rewrite(dicom_folder, make_signed)
    np.testing.assert_array_equal(read(dicom_folder), study.volume - 500.0)


@pytest.mark.parametrize("is_signed", [False, True])
def test_monochrome1_is_turned_over_so_that_bright_stays_bright(dicom_folder, study, is_signed):
    def invert(number, dataset):
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.RescaleSlope, dataset.RescaleIntercept = "2.5", "-7"
        stored = (2048 if is_signed else 4095) - study.volume[..., number].astype(int)
        dataset.BitsStored, dataset.HighBit = (16, 15) if is_signed else (12, 11)
        dataset.PixelRepresentation = int(is_signed)
        dataset.PixelData = stored.astype("<i2").tobytes()

    rewrite(dicom_folder, invert)
    array = read(dicom_folder)
    assert_as_by_simpleitk(array, dicom_folder)
    assert np.ptp(array - 2.5 * study.volume) == 0


def test_monochrome1_slices_of_two_rescales_stay_comparable(dicom_folder, study, edit):
    """One constant for all slices: else brightness would jump from slice to slice."""

    def invert(number, dataset):
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.RescaleSlope = "1" if number % 2 else "0.5"
        stored = (3000 - study.volume[..., number].astype(int)) * (1 if number % 2 else 2)
        dataset.PixelData = stored.astype("<u2").tobytes()

    rewrite(dicom_folder, invert)
    assert np.ptp(read(dicom_folder) - study.volume) == 0


def test_the_two_kinds_of_grey_are_not_mixed(dicom_folder, edit):
    edit(dicom_folder / "0002.dcm", PhotometricInterpretation="MONOCHROME1")
    with pytest.raises(StudyError, match=r"one PhotometricInterpretation: got .'MONOCHROME1', "):
        read(dicom_folder)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian], ids=str)
def test_uncompressed_syntaxes_hold_the_same_pixels(dicom_folder, study, syntax):
    for file in files_in(dicom_folder):
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        little = syntax != ExplicitVRBigEndian
        pydicom.dcmwrite(file, dataset, implicit_vr=syntax.is_implicit_VR, little_endian=little)
    np.testing.assert_array_equal(read(dicom_folder), study.volume)


def test_a_deflated_file_is_read(dicom_folder, study):
    def deflate(number, dataset):
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    rewrite(dicom_folder, deflate)
    np.testing.assert_array_equal(read(dicom_folder), study.volume)


def test_a_file_without_a_transfer_syntax_is_read_as_its_encoding_says(dicom_folder, study):
    for file in files_in(dicom_folder):
        dataset = pydicom.dcmread(file)
        with file.open("wb") as stream:
            pydicom.filewriter.write_dataset(_little(stream), dataset)
    np.testing.assert_array_equal(read(dicom_folder), study.volume)


def _little(stream):
    writer = pydicom.filebase.DicomFileLike(stream)
    writer.is_little_endian, writer.is_implicit_VR = True, True
    return writer


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=["RLE", "JPEG-LS"])
def test_compressed_slices_decode_to_the_same_bits(dicom_folder, study, syntax):
    for file in files_in(dicom_folder)[1:]:
        dataset = pydicom.dcmread(file)
        dataset.compress(syntax)
        dataset.save_as(file)
    np.testing.assert_array_equal(read(dicom_folder), study.volume)


def test_threads_may_read_at_once(dicom_folder, study):
    def compress_every_other(number, dataset):
        if number % 2:
            dataset.compress(RLELossless)

    rewrite(dicom_folder, compress_every_other)
    with ThreadPoolExecutor(6) as pool:
        for array in pool.map(read, [dicom_folder] * 12):
            np.testing.assert_array_equal(array, study.volume)


def test_a_compressed_slice_is_rescaled_once(dicom_folder, study):
    def compress(number, dataset):
        dataset.compress(RLELossless)
        dataset.RescaleSlope, dataset.RescaleIntercept = str(1.5 + number), "-12"

    rewrite(dicom_folder, compress)
    array = read(dicom_folder)
    np.testing.assert_array_equal(array, study.volume * (1.5 + np.arange(5, dtype="f4")) - 12)
    assert_as_by_simpleitk(array, dicom_folder)


@pytest.mark.parametrize("cut", [600, 24])
def test_a_file_cut_short_is_refused(dicom_folder, cut):
    file = dicom_folder / "0003.dcm"
    file.write_bytes(file.read_bytes()[:-cut])
    match = rf"0003.dcm must have readable PixelData: it holds {15360 - cut} bytes, not 15360"
    with pytest.raises(StudyError, match=match):
        read(dicom_folder)


def compressed(file):
    dataset = pydicom.dcmread(file)
    dataset.compress(RLELossless)
    dataset.save_as(file)
    return file.read_bytes()


@pytest.mark.parametrize("cut", [600, 24])
def test_a_compressed_file_cut_short_is_refused(dicom_folder, cut):
    file = dicom_folder / "0003.dcm"
    file.write_bytes(compressed(file)[:-cut])
    match = r"0003.dcm must have readable PixelData: it ends within a compressed frame"
    with pytest.raises(StudyError, match=match):
        read(dicom_folder)


@pytest.mark.parametrize("cut", [1, 8])
def test_a_compressed_file_that_lacks_only_its_end_marker_is_read(dicom_folder, study, cut):
    """Some archives write such files; pydicom alone finds an empty data set in them."""
    file = dicom_folder / "0003.dcm"
    content = compressed(file)
    assert content.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
    file.write_bytes(content[:-cut])
    np.testing.assert_array_equal(read(dicom_folder), study.volume)


@pytest.mark.parametrize("padding", [b"\0", bytes(200)])
def test_zeros_may_fill_up_the_pixels(dicom_folder, edit, study, padding):
    dataset = pydicom.dcmread(dicom_folder / "0003.dcm")
    edit(dicom_folder / "0003.dcm", PixelData=dataset.PixelData + padding)
    np.testing.assert_array_equal(read(dicom_folder), study.volume)


def test_more_pixels_than_rows_and_columns_say_are_refused(dicom_folder, edit_all):
    """The header may be damaged; the rest must not be dropped in silence."""
    edit_all(dicom_folder, Rows=95)
    match = r"0001.dcm must have readable PixelData: it holds 15360 bytes, not 15200"
    with pytest.raises(StudyError, match=match):
        read(dicom_folder)


@pytest.mark.parametrize(
    ("syntax", "reason"),
    [
        (RLELossless, "the decoder stopped"),
        (JPEGLSLossless, r"frame is \(96, 80\) in size, not Ro"),
    ],
    ids=["RLE", "JPEG-LS"],
)
def test_compressed_frames_of_another_size_are_refused(dicom_folder, syntax, reason):
    def shrink(number, dataset):
        dataset.compress(syntax)
        dataset.Rows = 48

    rewrite(dicom_folder, shrink)
    with pytest.raises(StudyError, match=f"0001.dcm must have readable PixelData: .*{reason}"):
        read(dicom_folder)


def test_a_compressed_frame_cut_short_is_refused(dicom_folder):
    file = dicom_folder / "0003.dcm"
    dataset = pydicom.dcmread(file)
    dataset.compress(RLELossless)
    (frame,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = pydicom.encaps.encapsulate([frame[: len(frame) // 4 * 2]])
    dataset.save_as(file)
    match = "0003.dcm must have readable PixelData: RLE Lossless: the decoder stopped .RuntimeError"
    with pytest.raises(StudyError, match=match):
        read(dicom_folder)


def test_fragments_that_make_no_frame_are_refused(dicom_folder):
    file = dicom_folder / "0003.dcm"
    dataset = pydicom.dcmread(file)
    dataset.compress(RLELossless)
    dataset.save_as(file)
    content = file.read_bytes()
    length = content.rfind(b"\xfe\xff\x00\xe0") + 4  # of the last item
    file.write_bytes(content[:length] + b"\xff\0\0\0" + content[length + 4 :])
    with pytest.raises(
        StudyError, match=r"0003.dcm must have readable PixelData: it ends within a"
    ):
        read(dicom_folder)


OTHER_KINDS = [
    ("HighBit", b"\x28\0\x02\x01", b"US", b"LO"),
    ("BitsAllocated", b"\x28\0\0\x01", b"US", b"LO"),
    ("PhotometricInterpretation", b"\x28\0\x04\0", b"CS", b"PN"),
]


@pytest.mark.parametrize(
    ("name", "tag", "vr", "other"), OTHER_KINDS, ids=[k[0] for k in OTHER_KINDS]
)
def test_an_attribute_of_another_kind_is_refused(dicom_folder, name, tag, vr, other):
    """Found by fuzzing: the VR of one attribute changed."""
    rewrite(dicom_folder, lambda _, dataset: dataset.compress(RLELossless))
    file = dicom_folder / "0003.dcm"
    content = file.read_bytes()
    assert content.count(tag + vr) == 1
    file.write_bytes(content.replace(tag + vr, tag + other))
    with pytest.raises(StudyError, match=r"0003.dcm must have readable PixelData: it has no valid"):
        read_pixels(instances_in(dicom_folder))


NAMED = [
    ("PhotometricInterpretation", "MUSTERMANN", "must be grey, .*: got another word, Sampl"),
    ("TransferSyntaxUID", "1.2.Mustermann", "its TransferSyntaxUID is private or unknown"),
    ("NumberOfFrames", "Mustermann", "must have readable PixelData: ValueError"),
]


@pytest.mark.parametrize(("keyword", "value", "match"), NAMED, ids=[row[0] for row in NAMED])
def test_a_name_where_none_belongs_is_not_quoted(dicom_folder, edit, keyword, value, match):
    """The name of a patient may stand anywhere."""
    file = dicom_folder / "0003.dcm"
    edit(file, NumberOfFrames=1)
    file.write_bytes(with_value(file.read_bytes(), keyword, value))
    with pytest.raises(StudyError, match=match) as caught:
        read_pixels([i for i in instances_in(dicom_folder) if i.path == file])
    assert "mustermann" not in str(caught.value).lower()


def test_a_private_transfer_syntax_is_refused(dicom_folder):
    file = dicom_folder / "0003.dcm"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0"))
    with pytest.raises(StudyError, match=r"TransferSyntaxUID 1.2.840.99999.1.2.1 is private or un"):
        read(dicom_folder)


@pytest.mark.parametrize(
    ("attributes", "match"),
    [
        ({"PhotometricInterpretation": "RGB"}, "must be grey, .*: got RGB, SamplesPerPixel 1"),
        ({"SamplesPerPixel": 3}, "must be grey, .*: got MONOCHROME2, SamplesPerPixel 3"),
        (
            {"NumberOfFrames": 2},
            "must say where its frames lie: got NumberOfFrames 2 without PerFrame",
        ),
        (
            {"HighBit": 15, "BitsStored": 12},
            "must store its bits from the lowest on: .* BitsStored 12",
        ),
        ({"BitsStored": 32, "HighBit": 31}, "must store its bits from the lowest on: got BitsAll"),
        ({"BitsAllocated": None}, "must have readable PixelData: it has no BitsAllocated"),
        ({"BitsAllocated": 24}, "must have readable PixelData: it holds 15360 bytes, not 23040"),
    ],
)
def test_only_grey_frames_of_known_bits_are_read(dicom_folder, edit, attributes, match):
    edit(dicom_folder / "0004.dcm", **attributes)
    with pytest.raises(StudyError, match=f"0004.dcm {match}"):
        read_pixels([i for i in instances_in(dicom_folder) if i.path.name == "0004.dcm"])


def test_a_size_that_no_file_can_have_is_refused_before_memory_is_asked_for(dicom_folder, edit_all):
    edit_all(dicom_folder, Rows=65535, Columns=65535)
    match = "at most 268435456 pixels: got Rows 65535, Columns 65535 in 5 slices"
    with pytest.raises(StudyError, match=match):
        read(dicom_folder)


def test_a_file_too_large_is_refused_before_it_is_read(dicom_folder):
    instances = instances_in(dicom_folder)
    with (dicom_folder / "0002.dcm").open("r+b") as stream:
        stream.truncate(pixels.MAX_FILE_BYTES + 1)  # sparse: takes no room on disk
    with pytest.raises(StudyError, match=r"0002.dcm must have readable PixelData: the file has mo"):
        read_pixels(instances)


def test_a_file_that_cannot_be_opened_is_refused(dicom_folder):
    instances = instances_in(dicom_folder)
    (dicom_folder / "0002.dcm").unlink()
    with pytest.raises(StudyError, match=r"0002.dcm must have readable PixelData: FileNotFoundErr"):
        read_pixels(instances)


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm"])
def test_compressed_signed_pixels_are_those_of_the_uncompressed_file(name, tmp_path):
    """Files that pydicom ships: real signed MR."""
    (compressed,) = instances_in_copy(name, tmp_path / "a")
    (plain,) = instances_in_copy("MR_small.dcm", tmp_path / "b")
    np.testing.assert_array_equal(read_pixels([compressed]), read_pixels([plain]))


def instances_in_copy(name, folder):
    folder.mkdir()
    shutil.copy(get_testdata_file(name), folder / "image.dcm")
    return instances_in(folder)


def test_an_unknown_encoding_is_no_syntax():
    assert UID("") not in pixels.UNCOMPRESSED


def test_the_modality_units_reach_the_volume(dicom_folder, edit_all, study):
    edit_all(dicom_folder, RescaleSlope="2", RescaleIntercept="-100")
    image = read_study(dicom_folder).image
    np.testing.assert_array_equal(image[0].numpy(), study.volume * 2.0 - 100)
