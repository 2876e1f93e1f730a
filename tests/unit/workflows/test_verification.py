"""Results of every format against each other, as they are written and as they may be damaged."""

import csv
import io
import json
import re
import shutil

import pydicom
import pytest
from tools.every_format import CASE_FILES, RUN_FILES, write_every_format

from spine_monai.viz.report_page import write_report_page
from spine_monai.workflows.verification import TOLERANCE_MM, verify
from spine_monai.writers import write_table
from spine_monai.writers.dicom_gsps import GSPS_FILE
from spine_monai.writers.dicom_sc import SC_FILE
from spine_monai.writers.dicom_sr import SR_FILE
from spine_monai.writers.read_back import Kind

# The phantom's L3 is absent.
FOUND = 10
POINT_FILES = ("landmarks.mrk.json", "landmarks.csv", "report.html", SR_FILE, GSPS_FILE)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, result, located):
    return write_every_format(tmp_path_factory.mktemp("every") / "out", result, located)


@pytest.fixture
def out(pristine, tmp_path):
    """A run of one case in every format, to be damaged."""
    return shutil.copytree(pristine, tmp_path / "out")


def path_of(out, name):
    return out / name if name in RUN_FILES else out / "case-1" / name


def checks_of(*paths):
    return {check.reading.file.name: check for check in verify(paths).checks}


# How a point moves in each format: by name, with a function of its coordinates.


def edit_markups(path, change):
    content = json.loads(path.read_text())
    points = content["markups"][0]["controlPoints"]
    found = {p["label"]: p["position"] for p in points if p["positionStatus"] == "defined"}
    new = change(found)
    for point in points:
        if point["label"] in new:
            point["position"] = list(map(float, new[point["label"]]))
        else:
            point["positionStatus"] = "undefined"
    path.write_text(json.dumps(content))


def edit_record(path, change):
    content = json.loads(path.read_text())
    found = {e["name"]: e["position_lps_mm"] for e in content["landmarks"] if e["position_lps_mm"]}
    new = change(found)
    for entry in content["landmarks"]:
        position = new.get(entry["name"])
        entry["position_lps_mm"] = None if position is None else list(map(float, position))
    path.write_text(json.dumps(content))


def edit_table(path, change):
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    axes = ("x_lps_mm", "y_lps_mm", "z_lps_mm")
    found = {r["landmark"]: [float(r[a]) for a in axes] for r in rows if r[axes[0]]}
    new = change(found)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = new.get(row["landmark"], ["", "", ""])
        status = row["status"] if row["landmark"] in new else "absent"
        writer.writerow(row | dict(zip(axes, cells, strict=True)) | {"status": status})
    path.write_text(stream.getvalue())


def edit_page(path, change):
    text = path.read_text()
    data = re.search(r'(?<=id="spine-monai-data">).*?(?=</script>)', text, re.DOTALL)[0]
    content = json.loads(data)
    entries = content["cases"][0]["landmarks"]
    found = {e["name"]: e["position_lps_mm"] for e in entries if e["position_lps_mm"]}
    new = change(found)
    for entry in entries:
        position = new.get(entry["name"])
        entry["position_lps_mm"] = None if position is None else list(map(float, position))
    path.write_text(text.replace(data, json.dumps(content)))


def edit_report(path, change):
    dataset = pydicom.dcmread(path)
    groups = measurement_groups(dataset)
    found = {name: item.GraphicData for name, (_, items) in groups.items() for item in items}
    new = change({name: list(map(float, position)) for name, position in found.items()})
    for name, (parent, items) in groups.items():
        for item in items:
            if name in new:
                item.GraphicData = list(map(float, new[name]))
        if name not in new:
            parent.ContentSequence.remove(
                next(g for g in parent.ContentSequence if items[0] in every_item(g))
            )
    dataset.save_as(path)


def every_item(item):
    children = list(item.get("ContentSequence", []))
    return children + [below for child in children for below in every_item(child)]


def measurement_groups(dataset):
    """Parent and SCOORD3D items of each group, by the name in its comment."""
    groups = {}
    for parent in every_item(dataset):
        for group in parent.get("ContentSequence", []):
            texts = [i.TextValue for i in group.get("ContentSequence", []) if i.ValueType == "TEXT"]
            points = [i for i in every_item(group) if i.ValueType == "SCOORD3D"]
            label = next((text for text in texts if text.endswith(")")), None)
            if label and points:
                groups[label.rsplit(" (", 1)[0]] = (parent, points)
    return groups


def edit_presentation(path, change):
    dataset = pydicom.dcmread(path)
    notes = [n for n in dataset.GraphicAnnotationSequence if "GraphicObjectSequence" in n]
    shapes = {n.GraphicObjectSequence[0].TrackingID: n for n in notes}
    found = {k: list(map(float, n.GraphicObjectSequence[0].GraphicData)) for k, n in shapes.items()}
    new = change(found)
    for name, note in shapes.items():
        if name in new:
            note.GraphicObjectSequence[0].GraphicData = list(map(float, new[name]))
        else:
            dataset.GraphicAnnotationSequence.remove(note)
    dataset.save_as(path)


EDITORS = {
    "landmarks.json": edit_record,
    "landmarks.mrk.json": edit_markups,
    "landmarks.csv": edit_table,
    "report.html": edit_page,
    SR_FILE: edit_report,
    GSPS_FILE: edit_presentation,
}


def shift(name, index, by):
    def change(points):
        moved = [v + by * (i == index) for i, v in enumerate(points[name])]
        return points | {name: moved}

    return change


def test_a_landmark_outside_the_image_need_not_be_drawn_over_it(tmp_path, moved_out, located):
    out = write_every_format(tmp_path / "out", moved_out("T12-L1"), located)
    assert verify([out]).agrees
    path = path_of(out, GSPS_FILE)
    edit_presentation(path, lambda points: {n: p for n, p in points.items() if n != "L1"})
    assert checks_of(path)[GSPS_FILE].problems == ("L1 is missing",)


def test_what_was_written_agrees(out):
    verification = verify([out])
    assert verification.agrees
    assert verification.not_compared == 0
    checks = {check.reading.file.name: check for check in verification.checks}
    assert set(checks) == {*CASE_FILES, *RUN_FILES}
    assert checks["landmarks.json"].reference is None
    for name in POINT_FILES:
        check = checks[name]
        assert (check.count, check.tolerance_mm) == (FOUND, TOLERANCE_MM)
        assert check.reference == out / "case-1" / "landmarks.json"
        assert 0 <= check.largest_mm < 1e-4
    assert (checks[SC_FILE].count, checks[SC_FILE].largest_mm) == (0, None)
    kinds = {check.reading.kind for check in checks.values()}
    assert kinds == set(Kind)


def test_unchanged_files_survive_the_editors_of_these_tests(out):
    """So that the tests below show what was changed, and nothing else."""
    for name, edit in EDITORS.items():
        edit(path_of(out, name), lambda points: points)
    assert verify([out]).agrees


@pytest.mark.parametrize("name", POINT_FILES)
def test_a_changed_coordinate_is_caught(out, name):
    EDITORS[name](path_of(out, name), shift("L2", 1, 0.01))
    verification = verify([out])
    wrong = [check for check in verification.checks if check.problems]
    assert [check.reading.file for check in wrong] == [path_of(out, name)]
    (problem,) = wrong[0].problems
    spacing_mm = 2.8 if name == GSPS_FILE else 1.0
    assert problem == f"L2 lies {0.01 * spacing_mm:.3f} mm away"
    assert wrong[0].largest_mm == pytest.approx(0.01 * spacing_mm, rel=0.02)


def test_a_changed_record_disagrees_with_every_other_file(out):
    edit_record(out / "case-1" / "landmarks.json", shift("L4-L5", 0, -3.0))
    checks = checks_of(out)
    for name in set(POINT_FILES) - {GSPS_FILE}:
        assert checks[name].problems == ("L4-L5 lies 3.000 mm away",)


@pytest.mark.parametrize("name", POINT_FILES)
def test_swapped_names_are_caught(out, name):
    def swap(points):
        return points | {"L1": points["L4"], "L4": points["L1"]}

    EDITORS[name](path_of(out, name), swap)
    first, second = checks_of(out)[name].problems
    assert re.fullmatch(r"L1 lies \d+\.\d+ mm away: it lies where L4 belongs", first)
    assert re.fullmatch(r"L4 lies \d+\.\d+ mm away: it lies where L1 belongs", second)


@pytest.mark.parametrize("name", [n for n in POINT_FILES if n != GSPS_FILE])
def test_ras_in_the_place_of_lps_is_caught_and_named(out, name):
    EDITORS[name](path_of(out, name), lambda ps: {k: [-x, -y, z] for k, (x, y, z) in ps.items()})
    check = checks_of(out)[name]
    assert check.problems[0] == "x and y have the other sign: its points are RAS, not LPS"
    assert len(check.problems) == 1 + FOUND


def test_other_disagreements_are_not_called_ras(out):
    edit_markups(out / "case-1" / "landmarks.mrk.json", shift("L1", 0, 400.0))
    assert len(checks_of(out)["landmarks.mrk.json"].problems) == 1


@pytest.mark.parametrize("name", POINT_FILES)
def test_a_missing_landmark_is_caught(out, name):
    EDITORS[name](path_of(out, name), lambda ps: {k: p for k, p in ps.items() if k != "L5"})
    check = checks_of(out)[name]
    assert check.problems == ("L5 is missing",)
    assert check.count == FOUND - 1


@pytest.mark.parametrize("name", ["landmarks.mrk.json", "landmarks.csv", "report.html"])
def test_a_point_for_an_absent_landmark_is_caught(out, name):
    editor = EDITORS["landmarks.json"]
    editor(out / "case-1" / "landmarks.json", lambda ps: {k: p for k, p in ps.items() if k != "L5"})
    problems = checks_of(out)[name].problems
    assert problems == ("L5 has a point, and none in landmarks.json",)


@pytest.mark.parametrize("name", [*CASE_FILES, *RUN_FILES])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.75, 0.97, -1])
def test_a_file_that_breaks_off_is_caught(out, name, kept):
    path = path_of(out, name)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept) if kept >= 0 else -2])
    wrong = {check.reading.file.name for check in verify([out]).checks if check.problems}
    # Pixels and pictures cannot be compared without the record.
    assert wrong == ({name, GSPS_FILE, SC_FILE} if name == "landmarks.json" else {name})


def test_a_picture_of_another_slice_is_caught(out):
    path = out / "case-1" / SC_FILE
    dataset = pydicom.dcmread(path)
    dataset.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.4"
    dataset.save_as(path)
    (problem,) = checks_of(out)[SC_FILE].problems
    assert problem == "must refer to the slice of the record: it refers to the image 1.2.3.4"


def test_an_empty_picture_is_caught(out):
    path = out / "case-1" / SC_FILE
    dataset = pydicom.dcmread(path)
    dataset.PixelData = bytes(len(dataset.PixelData))
    dataset.save_as(path)
    assert "must show a picture" in checks_of(out)[SC_FILE].problems[0]


def test_points_drawn_on_another_image_are_caught(out):
    path = out / "case-1" / GSPS_FILE
    dataset = pydicom.dcmread(path)
    for note in dataset.GraphicAnnotationSequence:
        note.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.4"
    dataset.save_as(path)
    problems = checks_of(out)[GSPS_FILE].problems
    assert problems == ("must refer to the slice of the record: it refers to the image 1.2.3.4",)


def test_points_may_be_drawn_on_the_slices_that_the_record_names(out):
    """Where each landmark was taken from a slice of its own, whose corner is not in the record."""
    record_path, path = out / "case-1" / "landmarks.json", out / "case-1" / GSPS_FILE
    record = json.loads(record_path.read_text())
    for entry in record["landmarks"]:
        entry["slice"] = {"SOPInstanceUID": "1.2.3.4"}
    record_path.write_text(json.dumps(record))
    dataset = pydicom.dcmread(path)
    dataset.GraphicAnnotationSequence[0].ReferencedImageSequence[
        0
    ].ReferencedSOPInstanceUID = "1.2.3.4"
    dataset.save_as(path)
    check = checks_of(out)[GSPS_FILE]
    assert (check.problems, check.tolerance_mm) == ((), 1.0)


def test_a_table_that_lacks_the_case_is_caught(out, result, located):
    shutil.copytree(out / "case-1", out / "case-2")
    path = out / "case-2" / "landmarks.json"
    path.write_text(path.read_text().replace('"case-1"', '"case-2"'))
    by_case = {}
    for check in verify([out]).checks:
        by_case.setdefault(check.reading.case, {})[check.reading.file.name] = check.problems
    assert set(by_case) == {"case-1", "case-2"}
    assert not any(by_case["case-1"].values())
    assert by_case["case-2"]["landmarks.csv"] == ("does not hold the case",)
    assert by_case["case-2"]["report.html"] == ("does not hold the case",)


def test_only_the_cases_of_the_files_named_are_compared(out):
    shutil.copytree(out / "case-1", out / "case-2")
    path = out / "case-2" / "landmarks.json"
    path.write_text(path.read_text().replace('"case-1"', '"case-2"'))
    write_table(out)
    verification = verify([out / "case-1", out / "landmarks.csv"])
    assert verification.agrees
    assert {check.reading.case for check in verification.checks} == {"case-1"}
    assert verification.not_compared == 1


def test_tables_and_reports_are_compared_case_by_case(out):
    verification = verify([out / "landmarks.csv", out / "report.html"])
    assert verification.agrees
    first, second = verification.checks
    assert (first.reference, second.reference) == (None, out / "landmarks.csv")


def test_the_record_beside_a_file_is_taken(out):
    checks = checks_of(out / "case-1" / SR_FILE)
    assert set(checks) == {"landmarks.json", SR_FILE}
    assert checks[SR_FILE].reference == out / "case-1" / "landmarks.json"


def test_without_a_record_the_first_file_is_the_reference(out, tmp_path):
    files = [shutil.copy(out / "case-1" / n, tmp_path) for n in (SR_FILE, "landmarks.mrk.json")]
    checks = checks_of(*files)
    assert checks["landmarks.mrk.json"].reference == tmp_path / SR_FILE
    assert checks["landmarks.mrk.json"].problems == ()


def test_a_file_elsewhere_belongs_to_the_only_case(out, tmp_path):
    copy = shutil.copy(out / "case-1" / SR_FILE, tmp_path / "sent-back.dcm")
    checks = checks_of(out / "case-1" / "landmarks.json", copy)
    assert checks["sent-back.dcm"].problems == ()


def test_pixels_need_the_record(out, tmp_path):
    files = [shutil.copy(out / "case-1" / n, tmp_path) for n in (SR_FILE, GSPS_FILE, SC_FILE)]
    checks = checks_of(*files)
    for name in (GSPS_FILE, SC_FILE):
        assert checks[name].problems == (
            "can only be compared with the landmarks.json of the case: name it, too",
        )


def test_a_file_alone_does_not_agree_with_anything(out, tmp_path):
    lonely = shutil.copy(out / "case-1" / "landmarks.mrk.json", tmp_path)
    with pytest.raises(
        ValueError, match=r"must be at least two of one case: expected landmarks\.json"
    ):
        verify([lonely])
    verification = verify([lonely, out / "case-1"])
    assert verification.agrees  # it belongs to the only case


def test_a_case_alone_among_others_is_said(out):
    (out / "case-2").mkdir()
    text = (out / "case-1" / "landmarks.json").read_text().replace('"case-1"', '"case-2"')
    (out / "case-2" / "landmarks.json").write_text(text)
    verification = verify([out / "case-1", out / "case-2"])
    alone = [c for c in verification.checks if c.reading.case == "case-2"]
    assert [check.problems for check in alone] == [
        ("there is nothing to compare it with: name the case's other files",)
    ]


def test_an_unknown_file_is_an_error_that_names_the_kinds(out, pristine_folder):
    for path in (
        out / "report.json",
        out / "case-1" / "thumbnail.jpg",
        pristine_folder / "0003.dcm",
    ):
        with pytest.raises(
            ValueError, match=r"expected landmarks\.json, \.mrk\.json, .* SR, GSPS or SC"
        ):
            verify([path])


def test_a_missing_file_and_an_empty_folder_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a file or folder of results"):
        verify([tmp_path / "nothing.json"])
    with pytest.raises(ValueError, match="must hold results of spine_monai"):
        verify([tmp_path])


def test_files_are_known_by_what_is_in_them(out, tmp_path):
    names = (*CASE_FILES, *RUN_FILES)
    copies = [shutil.copy(path_of(out, n), tmp_path / f"{i}.txt") for i, n in enumerate(names)]
    verification = verify(copies)
    assert verification.agrees
    assert {check.reading.kind for check in verification.checks} == set(Kind)


def test_markups_that_slicer_wrote_in_ras_agree(out):
    """Slicer can save either; what counts is where the points are."""
    path = out / "case-1" / "landmarks.mrk.json"
    edit_markups(path, lambda points: {k: [-x, -y, z] for k, (x, y, z) in points.items()})
    path.write_text(
        path.read_text().replace('"coordinateSystem": "LPS"', '"coordinateSystem": "RAS"')
    )
    assert verify([out]).agrees


def test_a_landmark_named_twice_is_caught(out):
    path = out / "landmarks.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[1]]))
    assert "named once" in checks_of(out)["landmarks.csv"].problems[0]


def test_a_run_that_is_done_again_agrees_again(out, result, landmarks):
    edit_record(out / "case-1" / "landmarks.json", shift("L1", 2, 5.0))
    write_table(out)
    write_report_page(out)
    checks = checks_of(out)
    assert checks["landmarks.csv"].problems == checks["report.html"].problems == ()
    assert checks[SR_FILE].problems == ("L1 lies 5.000 mm away",)
