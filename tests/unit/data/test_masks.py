"""Label masks: a vertebral column drawn with its canal and arches, in SPIDER's labels."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from spine_monai.data import datalist_from_masks
from spine_monai.data.masks import SPIDER_LABELS, read_labels
from spine_monai.landmarks import LUMBAR11

RAS_FROM_INDEX = np.array([[0, 0, 4, -12], [0, -1.5, 0, 60], [-2.0, 0, 0, 130], [0, 0, 0, 1]])
SHAPE = (130, 80, 7)  # rows towards the feet, columns to posterior, slices to the right
CENTRES = {name: 14 + 10 * n for n, name in enumerate(LUMBAR11.names)}  # rows


def column_of(row):
    """The column's lordosis: where the middle of a level lies."""
    return 30 + round(8 * np.sin(row / 25))


def draw_mask(labels):
    """Bodies of 6 rows and discs of 4, with the canal behind, and arches around it."""
    mask = np.zeros(SHAPE, dtype=np.uint8)
    for row in range(SHAPE[0]):
        mask[row, column_of(row) + 12 : column_of(row) + 20, 2:5] = labels["canal"]
    for name, centre in CENTRES.items():
        half = 2 if "-" in name else 3
        for row in range(centre - half, centre + half):
            middle = column_of(row)
            mask[row, middle - 10 : middle + 11, 1:6] = labels[name]
            if "-" not in name:
                for slices in (slice(0, 2), slice(5, 7)):
                    mask[row, middle + 11 : middle + 22, slices] = labels[name]
                mask[row, middle + 20 : middle + 34, 0:7] = labels[name]
    return mask


def truth_lps(name):
    rows = range(CENTRES[name] - (half := 2 if "-" in name else 3), CENTRES[name] + half)
    index = (np.mean(rows), np.mean([column_of(row) for row in rows]), 3)
    return nib.affines.apply_affine(RAS_FROM_INDEX, index) * [-1, -1, 1]


NAMES = {name: label for label, name in SPIDER_LABELS.items() if name != "partial"}


@pytest.fixture
def spider(tmp_path):
    """images/1_t2.mha and masks/1_t2.mha, as SPIDER stores them: in ITK's order, LPS."""
    mask = draw_mask(NAMES)
    write_mha(tmp_path / "images" / "1_t2.mha", mask * 5)
    write_mha(tmp_path / "masks" / "1_t2.mha", mask)
    return tmp_path


def write_mha(path, array):
    """Axis x of the file is the slice, as in SPIDER: sagittal slices come first."""
    path.parent.mkdir(exist_ok=True)
    stored = array.transpose(2, 1, 0)  # x, y, z = slice, column, row
    lps_from_index = np.diag([-1, -1, 1, 1]) @ RAS_FROM_INDEX[:, [2, 1, 0, 3]]
    image = sitk.GetImageFromArray(np.ascontiguousarray(stored.T))
    spacing = np.linalg.norm(lps_from_index[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps_from_index[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps_from_index[:3, 3].tolist())
    sitk.WriteImage(image, str(path))


def write_nifti(path, array, affine=RAS_FROM_INDEX):
    path.parent.mkdir(exist_ok=True, parents=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def remarks(conversion):
    return {(remark.code, remark.landmark) for remark in conversion.remarks}


def test_spider_counts_from_the_foot():
    expected = {1: "L5", 5: "L1", 6: "T12", 100: "canal", 106: "partial", 201: "L5-S1"}
    expected |= {202: "L4-L5", 206: "T12-L1", 207: "T11-T12"}
    assert {label: SPIDER_LABELS[label] for label in expected} == expected


def test_spiders_masks_give_centroids_of_discs_and_of_bodies(spider):
    conversion = datalist_from_masks([spider / "masks"], LUMBAR11, images=spider / "images")
    (item,) = conversion.items
    assert not conversion.remarks
    for name in LUMBAR11.names:
        np.testing.assert_allclose(item["points_lps"][name], truth_lps(name), atol=1.0)
    assert (item["id"], item["subject"], item["slice_index"]) == ("1_t2", "1", 3)
    assert item["image"] == str(spider / "images" / "1_t2.mha")
    assert item["mask"] == str(spider / "masks" / "1_t2.mha")


def test_the_series_of_a_spider_patient_share_a_subject(spider):
    for name in ("1_t1", "1_t2_SPACE", "12_t2"):
        write_mha(spider / "images" / f"{name}.mha", draw_mask(NAMES) * 5)
        write_mha(spider / "masks" / f"{name}.mha", draw_mask(NAMES))
    items = datalist_from_masks([spider / "masks"], LUMBAR11, images=spider / "images").items
    subjects = {item["id"]: item["subject"] for item in items}
    assert subjects == {"1_t1": "1", "1_t2": "1", "1_t2_SPACE": "1", "12_t2": "12"}


def test_single_masks_can_be_named(spider):
    write_mha(spider / "masks" / "1_t1.mha", draw_mask(NAMES))
    mask = spider / "masks" / "1_t2.mha"
    (item,) = datalist_from_masks([mask], LUMBAR11, images=spider / "images").items
    assert item["id"] == "1_t2"


def test_a_mask_beside_its_image_is_of_the_folders_case(tmp_path):
    array = draw_mask(NAMES)
    write_nifti(tmp_path / "sub-1" / "mask.nii.gz", array)
    write_nifti(tmp_path / "sub-1" / "t2.nii.gz", array)
    (item,) = datalist_from_masks([tmp_path], LUMBAR11).items
    assert (item["id"], item["image"]) == ("sub-1", str(tmp_path / "sub-1" / "t2.nii.gz"))
    np.testing.assert_allclose(item["points_lps"]["L4"], truth_lps("L4"), atol=1.0)


def test_a_linked_mask_is_of_the_folder_of_its_link(tmp_path):
    kept = write_nifti(tmp_path / "annex" / "kept" / "kept.nii.gz", draw_mask(NAMES))
    write_nifti(tmp_path / "sub-1" / "t2.nii.gz", draw_mask(NAMES).astype(np.int16))
    (tmp_path / "sub-1" / "mask.nii.gz").symlink_to(kept)
    (item,) = datalist_from_masks([tmp_path / "sub-1"], LUMBAR11).items
    assert item["id"] == "sub-1"


def test_an_oblique_mask_gives_the_same_levels(tmp_path):
    """Turned by 20 degrees about x: the canal still bounds the bodies."""
    turn = nib.eulerangles.euler2mat(x=np.radians(20))
    affine = RAS_FROM_INDEX.astype(float)
    affine[:3] = turn @ affine[:3]
    for name in ("mask", "t2"):
        write_nifti(tmp_path / "a" / f"{name}.nii", draw_mask(NAMES), affine)
    (item,) = datalist_from_masks([tmp_path], LUMBAR11).items
    for name in LUMBAR11.names:
        expected = (turn @ (truth_lps(name) * [-1, -1, 1])) * [-1, -1, 1]
        np.testing.assert_allclose(item["points_lps"][name], expected, atol=1.0)


def test_own_labels_are_named_in_a_file(tmp_path):
    own = {name: number for number, name in enumerate(["canal", *LUMBAR11.names], start=7)}
    lines = [f"{label}: {name.replace('-', '/')}" for name, label in own.items()]
    (tmp_path / "labels.yaml").write_text("\n".join(lines))
    labels = read_labels(tmp_path / "labels.yaml")
    assert labels == {label: name for name, label in own.items()}
    for name in ("mask", "t2"):
        write_nifti(tmp_path / "a" / f"{name}.nii", draw_mask(own))
    (item,) = datalist_from_masks([tmp_path / "a"], LUMBAR11, labels=labels).items
    np.testing.assert_allclose(item["points_lps"]["L5"], truth_lps("L5"), atol=1.0)


def test_labels_without_a_point_are_told(tmp_path):
    array = draw_mask(NAMES)
    array[array == NAMES["L1"]] = 105  # partly visible
    array[array == NAMES["L2-L3"]] = 77  # unknown
    array[0:8, 20:40] = NAMES["T12"]  # runs out of the picture
    write_nifti(tmp_path / "a" / "mask.nii", array)
    write_nifti(tmp_path / "a" / "t2.nii", draw_mask(NAMES))
    conversion = datalist_from_masks([tmp_path], LUMBAR11)
    assert remarks(conversion) == {
        ("partly_visible", "partial"),
        ("unknown_label", ""),
        ("cut_by_edge", "T12"),
        ("landmark_missing", "L1"),
        ("landmark_missing", "L2-L3"),
    }
    assert "label 77 of a (unknown) has no level" in str(conversion.remarks)


def test_without_a_canal_discs_remain(tmp_path):
    array = draw_mask(NAMES)
    array[array == NAMES["canal"]] = 0
    for name in ("mask", "t2"):
        write_nifti(tmp_path / "a" / f"{name}.nii", array)
    conversion = datalist_from_masks([tmp_path], LUMBAR11)
    found = conversion.items[0]["points_lps"]
    assert {name for name, point in found.items() if point} == set(LUMBAR11.names[::2])
    assert ("no_canal", "L3") in remarks(conversion)


def test_bodies_alone_need_no_canal(tmp_path):
    array = draw_mask(NAMES)
    for row in range(SHAPE[0]):
        array[row, column_of(row) + 11 :] = 0
    for name in ("mask", "t2"):
        write_nifti(tmp_path / "a" / f"{name}.nii", array)
    (item,) = datalist_from_masks([tmp_path], LUMBAR11, bodies_only=True).items
    np.testing.assert_allclose(item["points_lps"]["L3"], truth_lps("L3"), atol=1e-6)


def test_a_vertebra_behind_the_canal_has_no_body(tmp_path):
    array = draw_mask(NAMES)
    for row in range(SHAPE[0]):
        before = array[row, : column_of(row) + 12]
        before[before == NAMES["L4"]] = 0
    write_nifti(tmp_path / "a" / "mask.nii", array)
    write_nifti(tmp_path / "a" / "t2.nii", draw_mask(NAMES))
    assert ("no_body", "L4") in remarks(datalist_from_masks([tmp_path], LUMBAR11))


def test_a_mask_without_its_image_is_left_out(spider):
    write_mha(spider / "masks" / "2_t2.mha", draw_mask(NAMES))
    conversion = datalist_from_masks([spider / "masks"], LUMBAR11, images=spider / "images")
    assert [(r.case, r.code) for r in conversion.left_out] == [("2_t2", "image_not_found")]
    assert len(conversion.items) == 1


@pytest.mark.parametrize("content", [b"", b"ObjectType = Image\n"])
def test_a_mask_that_cannot_be_read_is_left_out(spider, content):
    (spider / "masks" / "1_t2.mha").write_bytes(content)
    conversion = datalist_from_masks([spider / "masks"], LUMBAR11, images=spider / "images")
    assert [remark.code for remark in conversion.left_out] == ["unreadable_mask"]


def test_an_image_in_the_place_of_a_mask_is_left_out(tmp_path):
    array = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    for name in ("mask", "t2"):
        write_nifti(tmp_path / "a" / f"{name}.nii", array)
    (remark,) = datalist_from_masks([tmp_path], LUMBAR11).left_out
    assert "must hold labels, whole numbers: it holds others" in remark.message


@pytest.mark.parametrize("images", [True, False])
def test_a_folder_without_masks_is_refused(tmp_path, images):
    write_nifti(tmp_path / "a" / "t2.nii", draw_mask(NAMES))
    (tmp_path / "none").mkdir()
    folder, options = (tmp_path / "none", {"images": tmp_path}) if images else (tmp_path, {})
    with pytest.raises(
        ValueError, match=r"masks must be volume files or folders of them: .* holds"
    ):
        datalist_from_masks([folder], LUMBAR11, **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1: pelvis", "must name each label, as in '1: L5', .*: got 'pelvis'"),
        ("one: L5", "must name each label"),
        ("- L5", "must name each label"),
        ("{", "must name each label"),
        ("1: L5\n2: l5", "must give each structure one label above 0"),
        ("0: L5", "must give each structure one label above 0"),
        ("{}", "must give each structure one label above 0"),
    ],
)
def test_a_label_file_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "labels.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"labels.yaml {message}"):
        read_labels(tmp_path / "labels.yaml")
