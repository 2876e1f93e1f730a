"""The DICOM results of real and synthetic studies before the validators of other makers.

dcmtk, dicom3tools and PixelMed's validator come from Debian: dcmtk, dicom3tools, pixelmed-apps and
a Java runtime. A test whose program is missing is skipped. PixelMed's takes some 20 s a file.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import highdicom
import matplotlib.image
import numpy as np
import pydicom
import pytest

from spine_monai.landmarks import LUMBAR11, LandmarkSet
from spine_monai.readers import locate_study
from spine_monai.transforms import LoadSpineStudyd, SagittalSliced
from spine_monai.viz.secondary_capture import write_sc
from spine_monai.writers import Result, case_content
from spine_monai.writers.dicom_gsps import points_xy_of_gsps, write_gsps
from spine_monai.writers.dicom_sr import points_lps_of_sr, write_sr

PIXELMED = Path("/usr/share/java/pixelmed.jar")
VALIDATOR = "com.pixelmed.validate.DicomSRValidator"
# Without these, Java 17 refuses the validator's stylesheet.
LIMITS = [f"-Djdk.xml.xpath{name}Limit=0" for name in ("TotalOp", "ExprOp", "ExprGrp")]
WRITERS = {"sr": write_sr, "sc": write_sc, "gsps": write_gsps}
POINT = re.compile(r'"Image Region"\)\s+= POINT \{([^}]*)\}')
# Free text, private text and names that stay with the images.
FREE_TEXT = ("SeriesDescription", "ProtocolName", "ImageComments", "PatientComments")
FREE_TEXT += ("AdditionalPatientHistory", "PerformingPhysicianName", "OperatorsName")
IDENTITY = {
    "PatientName": "Planted^Name",
    "PatientID": "planted-id",
    "PatientBirthDate": "19700131",
}


def program(name):
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    return name


def said_by(*command):
    """Validators tell what they found in words, whatever their exit code."""
    done = subprocess.run(command, check=False, capture_output=True, timeout=600)
    return (done.stdout + done.stderr).decode(errors="replace")


def errors_of(text):
    return [line for line in text.splitlines() if line.startswith("Error")]


def result_of(folder, points_lps, **values):
    """A result as the networks would give it, with points that are known; others are absent."""
    study = locate_study(folder)
    item = SagittalSliced("image")(LoadSpineStudyd("image")({"image": folder}))
    points_lps = np.stack([points_lps.get(name, [np.nan] * 3) for name in LUMBAR11.names])
    confidence = np.linspace(0.99, 0.79, len(LUMBAR11))
    radius95_mm = np.linspace(2.0, 7.0, len(LUMBAR11))
    landmarks = LandmarkSet(LUMBAR11, points_lps, confidence, radius95_mm, **values)
    parts = (item["image_source"], item["slice"], item["native_image"])
    return Result("case", landmarks, *parts), study


@pytest.fixture(scope="session")
def write_all(bundle):
    """Write the three objects of a study, with the digests of the shipped weights."""
    from spine_monai.workflows.bundle import describe_bundle

    def write(folder, points_lps, output, **values):
        result, study = result_of(folder, points_lps, **values)
        content = case_content(result, study, describe_bundle(bundle), {"min_confidence": 0.5})
        for kind, writer in WRITERS.items():
            writer(result, content, study.series, output / f"{kind}.dcm")
        return output

    return write


@pytest.fixture(scope="session")
def demo_points(bundle):
    content = json.loads((bundle / "sample" / "datalist.json").read_text())
    points = content["testing"][0]["points_lps"]
    return {name: np.array(points[name]) for name in LUMBAR11.names}


@pytest.fixture(scope="session")
def multi_frame_folder(pristine_folder, tmp_path_factory):
    """The phantom as one Legacy Converted Enhanced MR file."""
    sources = [pydicom.dcmread(file) for file in sorted(pristine_folder.glob("*.dcm"))]
    for source in sources:
        source.PatientID = "7"
    uid, folder = pydicom.uid.generate_uid, tmp_path_factory.mktemp("multi_frame")
    converted = highdicom.legacy.LegacyConvertedEnhancedMRImage(sources, uid(), 2, uid(), 1)
    converted.save_as(folder / "all.dcm")
    return folder


@pytest.fixture(scope="session")
def results(write_all, demo_series, demo_points, study, pristine_folder, tmp_path_factory):
    """The objects of the real demo study and of the oblique phantom, by study."""
    make = tmp_path_factory.mktemp
    return {
        "demo": write_all(demo_series, demo_points, make("demo"), calibrated=True),
        "phantom": write_all(pristine_folder, study.points_lps, make("phantom")),
    }


@pytest.fixture(scope="session")
def multi_frame_results(write_all, multi_frame_folder, study, tmp_path_factory):
    """Not calibrated, and one landmark absent."""
    points_lps = {name: point for name, point in study.points_lps.items() if name != "L3"}
    return write_all(multi_frame_folder, points_lps, tmp_path_factory.mktemp("enhanced"))


@pytest.fixture(scope="session")
def points_of(demo_points, study):
    return {"demo": demo_points, "phantom": study.points_lps}


both = pytest.mark.parametrize("case", ["demo", "phantom"])
every = pytest.mark.parametrize("kind", sorted(WRITERS))


@both
@every
def test_dciodvfy_finds_no_error(results, case, kind):
    text = said_by(program("dciodvfy"), "-new", results[case] / f"{kind}.dcm")
    assert re.search("^(Comprehensive3DSR|SCImage|GrayscaleSoftcopyPresentationState)$", text, re.M)
    assert errors_of(text) == []


@every
def test_dciodvfy_finds_no_error_for_a_multi_frame_source(multi_frame_results, kind):
    text = said_by(program("dciodvfy"), "-new", multi_frame_results / f"{kind}.dcm")
    assert errors_of(text) == []


def test_dciodvfy_would_find_one(results, tmp_path):
    dataset = pydicom.dcmread(results["demo"] / "sr.dcm")
    del dataset.CompletionFlag
    dataset.save_as(tmp_path / "broken.dcm")
    assert errors_of(said_by(program("dciodvfy"), "-new", tmp_path / "broken.dcm"))


def test_the_objects_and_their_images_agree_on_patient_and_study(results, demo_series):
    files = [*demo_series.glob("*.dcm"), *results["demo"].glob("*.dcm")]
    text = said_by(program("dcentvfy"), *files)
    assert "Error" not in text


def pixelmed(path):
    if not PIXELMED.is_file():
        pytest.skip("pixelmed-apps is not installed")
    return said_by(program("java"), *LIMITS, "-cp", PIXELMED, VALIDATOR, path)


def test_pixelmed_finds_no_error_in_the_template(results):
    text = pixelmed(results["demo"] / "sr.dcm")
    assert "Found Root Template TID_1500" in text
    assert "IOD validation complete" in text
    assert "Error" not in text


@pytest.mark.heavy
def test_pixelmed_finds_no_error_for_a_multi_frame_source(multi_frame_results):
    text = pixelmed(multi_frame_results / "sr.dcm")
    assert "IOD validation complete" in text
    assert "Error" not in text


@pytest.mark.heavy
def test_pixelmed_would_find_one(results, tmp_path):
    dataset = pydicom.dcmread(results["demo"] / "sr.dcm")
    (measurements,) = (
        item
        for item in dataset.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    )
    for item in measurements.ContentSequence[0].ContentSequence:
        if item.ValueType == "SCOORD3D":
            item.GraphicType = "MULTIPOINT"
            item.RelationshipType = "HAS PROPERTIES"
    dataset.save_as(tmp_path / "broken.dcm")
    assert "Error" in pixelmed(tmp_path / "broken.dcm")


@both
def test_dcsrdump_reads_eleven_points_to_the_last_of_32_bits(results, points_of, case):
    text = said_by(program("dcsrdump"), results[case] / "sr.dcm")
    points = [[float(number) for number in found.split(",")] for found in POINT.findall(text)]
    expected = np.stack([points_of[case][name] for name in LUMBAR11.names])
    assert len(points) == 11
    np.testing.assert_array_equal(np.float32(points), expected.astype(np.float32))


@both
def test_dsrdump_reads_the_report(results, case):
    text = said_by(program("dsrdump"), "+Pn", results[case] / "sr.dcm")
    assert not re.search("^[EF]:", text, re.M)
    assert "Preliminary Flag    : PRELIMINARY" in text
    assert text.count('"Measurement Group"') == 11


@both
def test_highdicom_reads_eleven_points(results, points_of, case):
    report = highdicom.sr.srread(results[case] / "sr.dcm")
    groups = report.content.get_planar_roi_measurement_groups()
    expected = np.stack([points_of[case][name] for name in LUMBAR11.names])
    points = np.concatenate([group.roi.value for group in groups])
    np.testing.assert_array_equal(points, expected.astype(np.float32))


@both
def test_dcmpschk_passes_the_presentation_state(results, case):
    assert "Test passed." in said_by(program("dcmpschk"), results[case] / "gsps.dcm")


def rendered(image, state, output):
    """(H, W) grey values as dcmtk shows an image with a presentation state."""
    subprocess.run([program("dcmp2pgm"), "--pstate", state, image, output], check=True)
    return matplotlib.image.imread(output).astype(float)


def test_dcmtk_shows_the_slice_as_the_overlay_does(results, pristine_folder, tmp_path):
    """Without a window in the images: black up to 0.5 % of the pixels, white from 98.5 % on."""
    image = pristine_folder / "0003.dcm"
    shown = rendered(image, results["phantom"] / "gsps.dcm", tmp_path / "shown.pgm")
    pixels = pydicom.dcmread(image).pixel_array
    low, high = np.percentile(pixels, [0.5, 98.5])
    expected = np.clip((pixels - low) / (high - low), 0, 1) * 255
    assert np.abs(shown - expected).max() <= 2


def test_dcmtk_shows_an_inverse_slice_alike(
    write_all, study, results, pristine_folder, dicom_folder, tmp_path
):
    """The same picture, its values turned over and named MONOCHROME1, with another rescale."""
    for file in dicom_folder.glob("*.dcm"):
        dataset = pydicom.dcmread(file)
        dataset.PixelData = (4095 - dataset.pixel_array).astype("<u2").tobytes()
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = "2", "-30", "US"
        dataset.save_as(file)
    write_all(dicom_folder, study.points_lps, tmp_path)
    straight = rendered(
        pristine_folder / "0003.dcm", results["phantom"] / "gsps.dcm", tmp_path / "a.pgm"
    )
    inverse = rendered(dicom_folder / "0003.dcm", tmp_path / "gsps.dcm", tmp_path / "b.pgm")
    assert straight.std() > 20
    assert np.abs(straight - inverse).max() <= 2


def test_a_multi_frame_source_is_referred_to_by_its_frame(
    multi_frame_results, multi_frame_folder, study, pristine_folder, results
):
    source = pydicom.dcmread(multi_frame_folder / "all.dcm")
    middle = pydicom.dcmread(pristine_folder / "0003.dcm").ImagePositionPatient
    places = [
        frame.PlanePositionSequence[0].ImagePositionPatient
        for frame in source.PerFrameFunctionalGroupsSequence
    ]
    number = 1 + places.index(middle)
    state = pydicom.dcmread(multi_frame_results / "gsps.dcm")
    for note in state.GraphicAnnotationSequence:
        (image,) = note.ReferencedImageSequence
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert image.ReferencedFrameNumber == number
    (image,) = pydicom.dcmread(multi_frame_results / "sc.dcm").SourceImageSequence
    assert image.ReferencedFrameNumber == number
    report = pydicom.dcmread(multi_frame_results / "sr.dcm")
    (library,) = (i for i in report.ContentSequence if "Library" in _meaning(i))
    (entry,) = library.ContentSequence[0].ContentSequence
    assert entry.ReferencedSOPSequence[0].ReferencedFrameNumber == number
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    assert len(evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 1


def _meaning(item):
    return item.ConceptNameCodeSequence[0].CodeMeaning


def test_a_multi_frame_source_gives_the_same_points(multi_frame_results, results):
    same, other = results["phantom"], multi_frame_results
    points_lps, others_lps = (points_lps_of_sr(folder / "sr.dcm") for folder in (same, other))
    points_xy, others_xy = (points_xy_of_gsps(f / "gsps.dcm")[1] for f in (same, other))
    assert set(points_lps) - set(others_lps) == set(points_xy) - set(others_xy) == {"L3"}
    for name in others_lps:
        np.testing.assert_array_equal(others_lps[name], points_lps[name])
        np.testing.assert_allclose(others_xy[name], points_xy[name], atol=1e-4)


@every
def test_writing_again_gives_the_same_bytes(
    write_all, results, demo_series, demo_points, tmp_path, kind
):
    """From a copy elsewhere, so that no path is in them."""
    copy = shutil.copytree(demo_series, tmp_path / "copy")
    (tmp_path / "out").mkdir()
    again = write_all(copy, demo_points, tmp_path / "out", calibrated=True)
    first = results["demo"] / f"{kind}.dcm"
    assert (again / f"{kind}.dcm").read_bytes() == first.read_bytes()


@pytest.fixture
def planted_folder(dicom_folder, edit_all):
    """The phantom with an identity, free text and private attributes."""
    edit_all(dicom_folder, **dict.fromkeys(FREE_TEXT, "Planted^Text"), **IDENTITY)
    for file in dicom_folder.glob("*.dcm"):
        dataset = pydicom.dcmread(file)
        dataset.private_block(0x0011, "PLANTED", create=True).add_new(1, "LO", "Planted^Private")
        dataset.save_as(file)
    return dicom_folder


def test_nothing_is_said_of_the_patient_and_free_text_stays_behind(
    write_all, study, planted_folder, tmp_path, capfd, caplog
):
    """The objects have the patient's identity, as the images do; messages and names have not."""
    (tmp_path / "out").mkdir()
    with caplog.at_level("DEBUG"):
        output = write_all(planted_folder, study.points_lps, tmp_path / "out")
    said = "".join(capfd.readouterr()) + caplog.text
    assert "lanted" not in said
    assert "19700131" not in said
    for file in output.iterdir():
        content = file.read_bytes()
        assert pydicom.dcmread(file).PatientID == "planted-id"
        for planted in (b"Planted^Text", b"Planted^Private", b"PLANTED"):
            assert planted not in content
