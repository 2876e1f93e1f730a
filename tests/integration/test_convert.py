"""``convert``: annotations of every kind to a datalist, and results to the challenge's JSON."""

import csv
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import yaml
from benchmark.masks import centroid_errors, name_masks

from spine_monai.cli import build_parser
from spine_monai.data import read_datalist
from spine_monai.data.synthetic import make_study
from spine_monai.landmarks import LUMBAR11

DATA = os.environ.get("SPINE_MONAI_DATA", "")
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
SECRETS = {
    "PatientName": "Planted^Jane",
    "SeriesDescription": "planted sag t2",
    "InstitutionName": "Planted Hospital",
    "PatientComments": "planted words",
}


def annotate(folder, number, *, patient):
    """Write a phantom's DICOM and return its record, as the challenge's file has it."""
    study = make_study(shape=(96, 80, 6), oblique_deg=(5, -4, 7), seed=number)
    files = study.write_dicom(folder, seed=folder.name, PatientID=patient, **SECRETS)
    return record_of(files[3], study.points_lps)


def record_of(file, points_lps):
    """The record of points on a DICOM file, in the whole pixels that SimpleITK gives."""
    header, image = pydicom.dcmread(file, stop_before_pixels=True), sitk.ReadImage(str(file))
    points = []
    for name, point in points_lps.items():
        column, row, _ = image.TransformPhysicalPointToContinuousIndex(list(map(float, point)))
        tag = {"identification": name, "disc" if "-" in name else "vertebra": "v1"}
        points.append({"tag": tag, "coord": [round(column), round(row)], "zIndex": 3})
    data = {"seriesUid": header.SeriesInstanceUID, "instanceUid": header.SOPInstanceUID}
    data["annotation"] = [{"data": {"point": points}}]
    return {"studyUid": header.StudyInstanceUID, "data": [data]}


@pytest.fixture
def challenge(tmp_path):
    """Five studies of four patients, and a record that matches no image."""
    patients = ["planted-1", "planted-2", "planted-1", "planted-3", "planted-4"]
    records = [
        annotate(tmp_path / "images" / f"study{n}", n, patient=patient)
        for n, patient in enumerate(patients)
    ]
    (tmp_path / "good.json").write_text(json.dumps(records))
    lost = json.loads(json.dumps(records[0])) | {"studyUid": "1.2.3"}
    lost["data"][0]["seriesUid"] = "1.2.4"
    (tmp_path / "lost.json").write_text(json.dumps([lost]))
    return tmp_path


def convert(run, kind, *arguments):
    return run("convert", kind, *arguments)


def test_tianchi_becomes_a_datalist_with_folds_by_patient(run, challenge):
    out = challenge / "lists" / "datalist.json"
    code, said = convert(
        run, "tianchi", challenge / "good.json", "--images", challenge / "images", "--out", out
    )
    assert (code, f"5 cases of 4 subjects in {out}" in said) == (0, True), said
    items = read_datalist(out)
    assert len({item["subject"] for item in items}) == 4
    assert items[0]["subject"] == items[2]["subject"]
    assert items[0]["fold"] == items[2]["fold"]
    assert sorted({item["fold"] for item in items}) == [0, 1, 2, 3]
    assert json.loads(out.read_text())["landmark_set"] == "lumbar11"


def test_what_is_left_out_is_told_on_the_screen_and_in_the_report(run, challenge):
    options = ["--images", challenge / "images", "--out", challenge / "datalist.json"]
    options += ["--report", challenge / "report.json"]
    files = [challenge / "good.json", challenge / "lost.json"]
    code, said = convert(run, "tianchi", *files, *options)
    assert code == 1
    assert "case 1.2.4: " in said
    assert "must hold StudyInstanceUID 1.2.3: it does not" in said
    assert "5 cases of 4 subjects" in said
    assert "; 1 left out, for the reasons above" in said
    report = json.loads((challenge / "report.json").read_text())
    assert (len(report["cases"]), report["left_out"]) == (5, ["1.2.4"])
    assert [remark["code"] for remark in report["remarks"]] == ["study_not_found"]


def test_without_any_case_nothing_is_written_but_the_report(run, challenge):
    out, report = challenge / "datalist.json", challenge / "report.json"
    options = ["--images", challenge / "images", "--out", out, "--report", report]
    code, said = convert(run, "tianchi", challenge / "lost.json", *options)
    assert code == 2
    assert "no case can be converted: 1 were left out, for the reasons above" in said
    assert report.is_file()
    assert not out.exists()


def test_nobody_is_named_anywhere(run, challenge):
    """Names, texts and PatientIDs were planted in the DICOM files."""
    out = challenge / "out"
    options = ["--images", challenge / "images", "--report", out / "report.json"]
    (challenge / "images" / "study1" / "0001.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"x" * 50)
    files = [challenge / "good.json", challenge / "lost.json"]
    _, said = run("--verbose", "convert", "tianchi", *files, *options, "--out", out / "list.json")
    texts = [said, *(path.read_text() for path in out.iterdir())]
    assert len(texts) == 3
    assert not any("planted" in text.lower() for text in texts)


def test_a_secret_key_changes_every_subject(run, challenge):
    (challenge / "key").write_text("correct horse battery staple")
    options = [challenge / "good.json", "--images", challenge / "images"]
    convert(run, "tianchi", *options, "--out", challenge / "public.json")
    secret = [*options, "--subject-key", challenge / "key"]
    assert convert(run, "tianchi", *secret, "--out", challenge / "secret.json")[0] == 0
    public, secret = (
        {item["subject"] for item in read_datalist(challenge / name)}
        for name in ("public.json", "secret.json")
    )
    assert len(public) == len(secret) == 4
    assert not public & secret


def test_folds_and_subjects_can_be_given(run, challenge):
    uids = [r["data"][0]["seriesUid"] for r in json.loads((challenge / "good.json").read_text())]
    lines = [f"{uid},{n % 2},{'ab'[n % 2]}" for n, uid in enumerate(uids)]
    (challenge / "cases.csv").write_text("\n".join(["case,fold,subject", *lines]))
    out = challenge / "datalist.json"
    options = ["--images", challenge / "images", "--out", out]
    options += ["--folds", challenge / "cases.csv", "--subjects", challenge / "cases.csv"]
    assert convert(run, "tianchi", challenge / "good.json", *options)[0] == 0
    assert [(i["fold"], i["subject"]) for i in read_datalist(out)] == [
        *((0, "a"), (1, "b"), (0, "a"), (1, "b"), (0, "a")),
    ]
    without = options[:-2]  # now the patient of the first and third study decides
    lines[2] = f"{uids[2]},1"
    (challenge / "cases.csv").write_text(
        "\n".join(["case,fold", *(",".join(line.split(",")[:2]) for line in lines)])
    )
    code, said = convert(run, "tianchi", challenge / "good.json", *without)
    assert code == 2
    assert "must keep all cases of a subject in one fold" in said


def test_one_subject_for_all_is_doubted(run, tmp_path):
    records = [annotate(tmp_path / "img" / str(n), n, patient="ANONYMOUS") for n in range(2)]
    (tmp_path / "a.json").write_text(json.dumps(records))
    options = ["--images", tmp_path / "img", "--out", tmp_path / "list.json"]
    code, said = convert(run, "tianchi", tmp_path / "a.json", *options)
    assert code == 0
    assert "all 2 cases have one subject, so they share a fold" in said


@pytest.fixture
def real(bundle, demo_series, tmp_path):
    """The bundled real study as the challenge would give it, annotated on its middle slice."""
    shutil.copytree(demo_series, tmp_path / "images" / "study0")
    (item,) = read_datalist(bundle / "sample" / "datalist.json")
    points = {name: item["points_lps"][name] for name in LUMBAR11.names}
    record = record_of(sorted((tmp_path / "images" / "study0").iterdir())[2], points)
    (tmp_path / "annotation.json").write_text(json.dumps([record]))
    return tmp_path


def test_a_real_study_goes_from_annotation_to_submission(run, real):
    """Import, localize with the shipped weights, evaluate, write back, and import that again."""
    images, datalist, results = real / "images", real / "datalist.json", real / "results"
    options = ["--images", images, "--out"]
    assert convert(run, "tianchi", real / "annotation.json", *options, datalist)[0] == 0
    assert run("localize", datalist, "--out", results)[0] == 0
    code, said = run("evaluate", results, "--reference", datalist, "--out", real / "figures")
    assert code == 0, said
    overall = json.loads((real / "figures" / "metrics.json").read_text())["overall"]
    assert (overall["n"], overall["sdr"]["8"]) == (11, 1.0)
    submission = real / "submission.json"
    code, said = convert(run, "to-tianchi", results, "--out", submission)
    assert code == 0
    assert f"1 cases in {submission}" in said
    assert "every vertebra and disc has the grade v1: none was measured" in said
    assert convert(run, "tianchi", submission, *options, real / "again.json")[0] == 0
    (item,) = read_datalist(real / "again.json")
    record = json.loads((results / item["id"] / "landmarks.json").read_text())
    half_a_pixel_mm = 0.5 * 0.47 * np.sqrt(2)
    for entry in record["landmarks"]:
        error = np.subtract(item["points_lps"][entry["name"]], entry["position_lps_mm"])
        assert np.linalg.norm(error) <= half_a_pixel_mm + 1e-3


def test_results_become_a_datalist_that_is_their_own_reference(run, real):
    results, out = real / "results", real / "datalist.json"
    assert run("localize", real / "images" / "study0", "--out", results)[0] == 0
    code, said = convert(run, "results", results, "--out", out)
    assert (code, "1 cases of 1 subjects" in said) == (0, True), said
    code, said = run("evaluate", results, "--reference", out, "--out", real / "figures")
    assert code == 0, said
    overall = json.loads((real / "figures" / "metrics.json").read_text())["overall"]
    assert (overall["n"], overall["missing"]) == (11, 0)
    assert overall["mre_mm"] < 1e-6


def test_results_whose_images_are_gone_are_left_out(run, real):
    results, study = real / "results", real / "images" / "study0"
    assert run("localize", study, "--out", results)[0] == 0
    study.rename(real / "elsewhere")
    code, said = convert(run, "results", results, "--out", real / "datalist.json")
    assert code == 2
    assert f"{study} must still be there" in said


def test_rsna_becomes_a_datalist_of_canal_points(run, tmp_path):
    rows = []
    for number in (1, 2):
        folder = tmp_path / "train_images" / str(number) / "7"
        study = make_study(shape=(96, 80, 6), seed=number)
        for file in study.write_dicom(folder, seed=str(number), PatientID=str(number)):
            file.rename(folder / f"{int(file.stem)}.dcm")
        for place, level in enumerate(("L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1")):
            condition = "Spinal Canal Stenosis"
            rows.append([number, 7, 3, condition, level, 40 + place, 20.5 + 12 * place])
        rows.append([number, 7, 2, "Left Neural Foraminal Narrowing", "L1/L2", 1, 2])
    with (tmp_path / "coordinates.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        names = ("study_id", "series_id", "instance_number", "condition", "level", "x", "y")
        writer.writerows([names, *rows])
    out = tmp_path / "datalist.json"
    options = ["--images", tmp_path / "train_images", "--out", out]
    code, said = convert(run, "rsna", tmp_path / "coordinates.csv", *options)
    assert code == 0, said
    assert "2 points of Left Neural Foraminal Narrowing" in said
    assert json.loads(out.read_text())["landmark_set"] == "rsna_canal5"
    assert [next(iter(item["points_lps"])) for item in read_datalist(out)] == ["canal L1-L2"] * 2


def test_a_table_becomes_a_datalist(run, tmp_path):
    study = make_study(seed=1)
    (tmp_path / "images").mkdir()
    study.write_nifti(tmp_path / "images" / "a.nii.gz")
    ras = [(f"a;{name}", *(point * [-1, -1, 1])) for name, point in study.points_lps.items()]
    lines = ["case;landmark;x;y;z", *(";".join(map(str, row)) for row in ras)]
    (tmp_path / "points.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    out = tmp_path / "datalist.json"
    options = ["--images", tmp_path / "images", "--out", out, "--coordinate-system", "RAS"]
    assert convert(run, "csv", tmp_path / "points.csv", *options)[0] == 0
    (item,) = read_datalist(out)
    np.testing.assert_allclose(item["points_lps"]["L4"], study.points_lps["L4"])


def test_a_wrong_cell_of_a_table_is_named(run, tmp_path):
    (tmp_path / "points.csv").write_text("case,landmark,x,y,z\na,L1,1,2,3\na,L2,1,2mm,3\n")
    options = ["--images", tmp_path, "--out", tmp_path / "datalist.json"]
    code, said = convert(run, "csv", tmp_path / "points.csv", *options)
    assert code == 2
    assert "points.csv row 3 must have in column 'y' a finite number" in said


def test_masks_with_own_labels_become_a_datalist(run, tmp_path):
    """Boxes for discs; a label that the file does not name is told."""
    affine = np.array([[0, 0, 4, -9], [0, -1, 0, 40], [-1.0, 0, 0, 90], [0, 0, 0, 1]])
    mask = np.zeros((150, 70, 5), dtype=np.uint8)
    for label, row in ((1, 40), (2, 80), (9, 110)):
        mask[row : row + 10, 20:41, 1:4] = label
    (tmp_path / "sub-1").mkdir()
    for name in ("mask", "t2"):
        nib.save(nib.Nifti1Image(mask, affine), tmp_path / "sub-1" / f"{name}.nii.gz")
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump({1: "L4-L5", 2: "L5-S1"}))
    out = tmp_path / "datalist.json"
    options = ["--labels", tmp_path / "labels.yaml", "--out", out]
    code, said = convert(run, "masks", tmp_path, *options)
    assert code == 0, said
    assert "label 9 of sub-1 (unknown) has no level. It is left out." in said
    (item,) = read_datalist(out)
    expected = nib.affines.apply_affine(affine, (44.5, 30, 2)) * [-1, -1, 1]
    np.testing.assert_allclose(item["points_lps"]["L4-L5"], expected)


@pytest.mark.parametrize("page", ["annotations.md", "tianchi.md"])
def test_the_commands_of_the_how_to_are_real(page):
    text = (HOW_TO / page).read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if "spine-monai" in line]
    assert len(commands) >= 5
    for words in commands:
        assert build_parser().parse_args(words[1:]).command, words


@pytest.mark.skipif(not DATA, reason="SPINE_MONAI_DATA does not name the data set")
def test_the_centroids_of_real_masks_are_those_of_the_data_set(run, tmp_path):
    """The references were computed on the whole original volumes, the masks hold 3 to 5 slices.

    The masks name only the structure (1 disc, 2 vertebra, 3 canal), so each piece gets its level
    from the nearest reference; where pieces of two levels are fused, one of them is wrong.
    """
    references = name_masks(Path(DATA), tmp_path)
    out = tmp_path / "datalist.json"
    options = ["--labels", tmp_path / "labels.yaml", "--out", out]
    assert convert(run, "masks", tmp_path / "data", *options)[0] == 0
    errors = centroid_errors(out, references)
    assert len(errors["disc"]) >= 165, len(errors["disc"])
    assert len(errors["vertebra"]) >= 130, len(errors["vertebra"])
    for kind, (median, high) in {"disc": (0.5, 2.0), "vertebra": (1.0, 2.0)}.items():
        assert np.median(errors[kind]) < median, kind
        assert np.quantile(errors[kind], 0.95) < high, kind


@pytest.mark.heavy
def test_the_papers_experiment_runs_from_annotations_to_submission(run, bundle, challenge):
    """The how-to page with its networks made small: no accuracy, but every step and file."""
    paper = yaml.safe_load((bundle / "configs" / "variants" / "paper.yaml").read_text())
    paper |= {"epochs": 1, "val_interval": 1, "coordinates_width": 0.125, "batch_size": 2}
    paper["coordinates_input_size"] = 96
    paper["heatmap_network_def"]["features"] = [4, 4, 4, 4, 4, 4]
    (challenge / "paper.yaml").write_text(yaml.safe_dump(paper))
    images, train, out = challenge / "images", challenge / "train.json", challenge / "bundle"
    convert(run, "tianchi", challenge / "good.json", "--images", images, "--out", train)
    code, said = run(
        "train", "--datalist", train, "--out", out, "--variant", challenge / "paper.yaml"
    )
    assert code == 0, said
    results = challenge / "results"
    assert run("localize", train, "--out", results, "--bundle", out)[0] == 0
    code, said = run("evaluate", results, "--reference", train, "--out", challenge / "figures")
    assert (code, "5 cases, 55 landmarks" in said) == (0, True), said
    submission = challenge / "submission.json"
    assert convert(run, "to-tianchi", results, "--out", submission)[0] == 0
    assert len(json.loads(submission.read_text())) == 5
