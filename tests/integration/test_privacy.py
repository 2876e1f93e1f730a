"""Nothing that a study says of its patient gets out: a search over all that is said and written.

Results as DICOM go back to the study that they were made from, so they carry its patient and study
modules, and nothing else of it. Paths are the caller's own.
"""

import csv
import io
import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pydicom
import pytest
from planted import FREE_TEXT, IDENTITY, NAME, SECRETS, SPOILS, WORD, write_planted

from spine_monai.data import write_datalist
from spine_monai.landmarks import LUMBAR11
from spine_monai.readers import read_study

# For what takes seconds a study.
SOME = ("leave", "spoil_syntax", "spoil_grey", "cut_header")
FORMATS = "json,csv,markups,overlay,report,sr,sc,gsps"
DICOM_RESULTS = {"landmarks.dcm", "overlay.dcm", "presentation.dcm"}
BOTH = pytest.mark.parametrize("verbose", [(), ("--verbose",)], ids=["terse", "verbose"])


def found_in(content, secrets=SECRETS):
    """The planted words in some bytes or text, in any case, in one or two bytes a letter."""
    data = content.encode() if isinstance(content, str) else content
    lower = data.lower()
    encodings = ("utf-8", "utf-16-le", "utf-16-be")
    return [s for s in secrets if any(s.lower().encode(code) in lower for code in encodings)]


def assert_silent(content):
    assert found_in(content) == [], content if isinstance(content, str) else ""


def assert_files_silent(folder):
    """No file below a folder, nor its name, holds a word; of DICOM, beside patient and study."""
    paths = sorted(folder.rglob("*"))
    assert paths
    for path in paths:
        assert_silent(str(path.relative_to(folder)))
        if path.is_file():
            content = without_identity(path) if path.suffix == ".dcm" else path.read_bytes()
            assert found_in(content) == [], path
    return paths


def without_identity(path):
    """The bytes of a DICOM result without the modules that it shares with its images."""
    assert found_in(path.read_bytes(), [WORD]) == [], path
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what was planted
        dataset = pydicom.dcmread(path)
        for keyword in (*IDENTITY, "SpecificCharacterSet"):
            dataset.pop(keyword, None)
        dataset.save_as(stream)
    return stream.getvalue()


def spine_monai(*arguments):
    """Run the command as a user does; gives the exit code and everything that it said."""
    command = [sys.executable, "-m", "spine_monai.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def planted(demo_study, tmp_path_factory):
    """The demo study full of the words, spoilt in each way, below one folder."""
    home = tmp_path_factory.mktemp("planted")
    volume = read_study(demo_study)
    affine = volume.image.affine.numpy() @ np.diag([2.0, 2.0, 1.0, 1.0])
    pixels = volume.image[0, ::2, ::2].numpy().astype(np.uint16)
    for name, spoil in SPOILS.items():
        write_planted(home / name, pixels, affine, spoil)
    return home


@pytest.fixture(scope="module", params=["verbose", "terse"])
def localized(request, planted, tmp_path_factory):
    """Studies in every format: what was said, and the folder of the results."""
    out = tmp_path_factory.mktemp("localized") / "out"
    options = ["--formats", FORMATS, "--device", "cpu", "--out", out]
    if request.param == "verbose":
        code, said = spine_monai("--verbose", "localize", *sorted(planted.iterdir()), *options)
    else:
        code, said = spine_monai("localize", *(planted / name for name in SOME), *options)
    assert code == 1, said
    return said, out


def test_the_words_are_planted_where_they_can_be_found(planted):
    """Else the search could not fail."""
    for folder in planted.iterdir():
        assert set(found_in((folder / "0001.dcm").read_bytes())) >= {NAME, WORD}, folder
    (whole, *_) = sorted((planted / "leave").iterdir())
    assert found_in(whole.read_bytes()) == list(SECRETS)
    assert found_in("x" + NAME.encode("utf-16-le").decode("latin-1")) == [NAME]
    assert not FREE_TEXT & IDENTITY


@BOTH
@pytest.mark.parametrize("options", [(), ("--json",), ("--series-uid", "1.2.3")], ids=str)
def test_series_names_nobody(run, planted, options, verbose):
    for study in [planted, *planted.iterdir()]:
        code, said = run(*verbose, "series", study, *options)
        assert code in (0, 1)
        assert len(said) > 50
        assert_silent(said)


def test_series_as_a_process_names_nobody(planted):
    code, said = spine_monai("--verbose", "series", planted)
    assert code == 1
    assert_silent(said)


def test_localize_names_nobody(localized):
    said, out = localized
    assert_silent(said)
    names = {path.name for path in assert_files_silent(out)}
    assert names >= DICOM_RESULTS | {"report.html", "report.json", "overlay.png", "landmarks.csv"}


def test_broken_studies_fail_or_succeed_by_themselves(localized):
    """So that the search above is over messages of failures as well as over results."""
    report = json.loads((localized[1] / "report.json").read_text())
    statuses = [case["status"] for case in report["cases"]]
    assert len(statuses) in (len(SOME), len(SPOILS))
    assert statuses.count("done") >= len(statuses) / 4
    assert statuses.count("failed") >= len(statuses) / 4


@BOTH
def test_verify_and_evaluate_name_nobody(run, localized, planted, tmp_path, verbose):
    _, out = localized
    _, said = run(*verbose, "verify", out)
    assert "agrees" in said
    assert_silent(said)
    items = [reference(uid.name, planted) for uid in out.iterdir() if uid.is_dir()]
    write_datalist(items, tmp_path / "reference.json", LUMBAR11.name)
    arguments = ["--reference", tmp_path / "reference.json", "--out", tmp_path / "metrics"]
    code, said = run(*verbose, "evaluate", out, *arguments)
    assert code == 0, said
    assert_silent(said)
    assert_files_silent(tmp_path / "metrics")


@BOTH
def test_verify_names_nobody_of_files_that_are_no_results(run, planted, verbose):
    for folder in planted.iterdir():
        code, said = run(*verbose, "verify", folder / "0002.dcm")
        assert code == 2
        assert_silent(said)


def reference(case, planted):
    points = {name: [1.0, 2.0, 3.0] for name in LUMBAR11.names}
    return {"id": case, "subject": case, "image": str(planted), "points_lps": points}


@pytest.fixture(scope="module")
def rsna_images(planted, tmp_path_factory):
    """The same files, named as that challenge names them: study, series, instance."""
    home = tmp_path_factory.mktemp("rsna")
    for series, folder in enumerate(sorted(planted.iterdir())):
        (home / "1" / str(series)).mkdir(parents=True)
        for file in folder.iterdir():
            shutil.copy(file, home / "1" / str(series) / f"{int(file.stem)}.dcm")
    return home


@pytest.fixture(scope="module")
def sources(planted, rsna_images, tmp_path_factory):
    """A point in each study whose UIDs can be read, annotated in three ways; and the images."""
    home = tmp_path_factory.mktemp("annotations")
    place = read_study(planted / "leave").image.affine.numpy() @ [160, 128, 2, 1] * [-1, -1, 1, 1]
    records, rows, table = [], [], []
    for number, folder in enumerate(sorted(planted.iterdir())):
        study, series, instance = uids_of(folder / "0003.dcm")
        if not found_in(study + series + instance):
            records.append(tianchi_record(study, series, instance))
            table.append([series, "L3", *place[:3].tolist()])
        rows.append([1, number, 3, "Spinal Canal Stenosis", "L3/L4", 30, 40])
    (home / "tianchi.json").write_text(json.dumps(records))
    heads = ["study_id", "series_id", "instance_number", "condition", "level", "x", "y"]
    write_rows(home / "rsna.csv", [heads, *rows])
    write_rows(home / "points.csv", [["case", "landmark", "x", "y", "z"], *table])
    return {
        "tianchi": (home / "tianchi.json", planted),
        "rsna": (home / "rsna.csv", rsna_images),
        "csv": (home / "points.csv", planted),
    }


def tianchi_record(study, series, instance):
    point = {"coord": [30, 40], "zIndex": 2, "tag": {"identification": "L3", "vertebra": "v1"}}
    data = {"seriesUid": series, "instanceUid": instance}
    return {"studyUid": study, "data": [data | {"annotation": [{"data": {"point": [point]}}]}]}


def uids_of(file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(file, force=True)
        keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        return [str(header.get(keyword, "")) for keyword in keywords]


def write_rows(path, rows):
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


@BOTH
@pytest.mark.parametrize("kind", ["tianchi", "rsna", "csv"])
def test_convert_names_nobody(run, sources, tmp_path, kind, verbose):
    annotations, images = sources[kind]
    options = ["--out", tmp_path / "list.json", "--report", tmp_path / "report.json"]
    code, said = run(*verbose, "convert", kind, annotations, "--images", images, *options)
    assert code == 1, said
    assert_silent(said)
    assert_files_silent(tmp_path)


@BOTH
def test_converting_results_names_nobody(run, localized, tmp_path, verbose):
    for kind, name in (("results", "list.json"), ("to-tianchi", "tianchi.json")):
        out = tmp_path / kind
        code, said = run(*verbose, "convert", kind, localized[1], "--out", out / name)
        assert code in (0, 1), said
        assert_silent(said)
        assert_files_silent(out)


def test_the_bundles_own_door_names_nobody(bundle, planted, tmp_path):
    config = bundle / "configs" / "inference.yaml"
    options = {"config_file": config, "bundle_root": bundle, "output_dir": tmp_path / "out"}
    options["logging_file"] = bundle / "configs" / "logging.conf"
    options["studies"] = [str(planted / name) for name in SOME]
    command = [sys.executable, "-m", "monai.bundle", "run", "evaluating"]
    command += [text for key, value in options.items() for text in (f"--{key}", str(value))]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    said = done.stdout + done.stderr
    assert "cases failed" in said
    assert_silent(said)
    assert_files_silent(tmp_path / "out")
