"""The picture of a result; the place of a landmark on it comes from SimpleITK."""

from dataclasses import replace

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
import SimpleITK as sitk

from spine_monai.viz import draw_overlay

DISC, VERTEBRA = "#ffd166", "#4cc9f0"
TITLE = 0.05 / 1.05  # share of the picture above the slice


def only(landmarks, *names, **changes):
    """The landmarks with all others absent."""
    is_other = np.array([name not in names for name in landmarks.registry.names])
    points_lps = np.where(is_other[:, None], np.nan, landmarks.points_lps)
    return replace(landmarks, points_lps=points_lps, **changes)


@pytest.fixture
def picture_of(result, tmp_path):
    def draw(landmarks, **changes):
        draw_overlay(replace(result, landmarks=landmarks, **changes), tmp_path / "overlay.png")
        return matplotlib.image.imread(tmp_path / "overlay.png")[..., :3]

    return draw


@pytest.fixture
def place_of(landmarks, pristine_folder):
    """Row and column in the picture where a landmark belongs."""
    image = sitk.ReadImage(str(pristine_folder / "0003.dcm"))
    columns, rows, _ = image.GetSize()

    def find(name, picture):
        point_lps = landmarks.points_lps[landmarks.registry.names.index(name)]
        x, y, _ = image.TransformPhysicalPointToContinuousIndex(point_lps)
        height, width = picture.shape[:2]
        row = height * TITLE + (y + 0.5) / rows * height * (1 - TITLE)
        return row, (x + 0.5) / columns * width

    return find


def pixels_of(picture, color):
    distance = np.abs(picture - matplotlib.colors.to_rgb(color)).max(-1)
    return np.argwhere(distance < 0.02)


def test_the_picture_is_true_to_scale(picture_of, landmarks):
    """96 rows of 2.8 mm by 80 columns of 2.4 mm, and a title of 5 %."""
    height, width = picture_of(landmarks).shape[:2]
    assert height / width == pytest.approx(1.05 * (96 * 2.8) / (80 * 2.4), rel=0.01)


@pytest.mark.parametrize(("name", "color"), [("L4-L5", DISC), ("T12-L1", DISC), ("L2", VERTEBRA)])
def test_a_landmark_is_marked_where_it_lies(picture_of, place_of, landmarks, name, color):
    """A cross is nearly empty but for its two bars, whose middle is the landmark."""
    small = np.where(np.isnan(landmarks.radius95_mm), np.nan, 1e-3)  # the circle is in the cross
    picture = picture_of(only(landmarks, name, radius95_mm=small))
    row, column = place_of(name, picture)
    found = pixels_of(picture, color)
    near = found[(np.abs(found - [row, column]) < 6).all(-1)]
    bars = [near[np.abs(near[:, axis] - place) < 1.5] for axis, place in enumerate((row, column))]
    assert all(len(bar) >= 6 for bar in bars)
    middle = (bars[0][:, 1].min() + bars[0][:, 1].max()) / 2
    assert middle == pytest.approx(column, abs=1.5)


def test_the_color_says_the_kind(picture_of, landmarks):
    picture = picture_of(only(landmarks, "L4-L5"))
    assert len(pixels_of(picture, DISC)) > 20
    assert len(pixels_of(picture, VERTEBRA)) == 0


def test_an_absent_landmark_is_not_drawn(picture_of, landmarks):
    picture = picture_of(only(landmarks))
    assert len(pixels_of(picture, DISC)) == 0
    assert len(pixels_of(picture, VERTEBRA)) == 0


def test_a_circle_holds_the_radius(picture_of, place_of, landmarks):
    """The label stands on the right, so the leftmost pixel of its color is the circle's."""
    radii = np.full(11, 15.0)
    picture = picture_of(only(landmarks, "L1-L2", radius95_mm=radii))
    _, column = place_of("L1-L2", picture)
    px_per_mm = picture.shape[1] / (80 * 2.4)
    leftmost = pixels_of(picture, DISC)[:, 1].min()
    assert (column - leftmost) / px_per_mm == pytest.approx(15.0, abs=0.5)


def test_an_uncertain_landmark_has_a_dashed_circle(picture_of, landmarks):
    def drawn_left_of_the_middle(confidence):
        sure = np.full(11, confidence)
        radii = np.full(11, 8.0)
        picture = picture_of(only(landmarks, "L4", confidence=sure, radius95_mm=radii))
        found = pixels_of(picture, VERTEBRA)
        return (found[:, 1] < found[:, 1].min() + 26).sum()  # away from the label

    assert drawn_left_of_the_middle(0.2) < 0.8 * drawn_left_of_the_middle(0.9)


def test_the_slice_stands_upright_in_the_picture(picture_of, landmarks, result):
    """A bright quarter of the image, high up and in front, is that quarter of the picture."""
    image = result.image.clone()
    image[:] = 0
    image[0, :48, :40] = 100
    picture = picture_of(only(landmarks), image=image).mean(-1)
    below = picture[round(len(picture) * TITLE) :]
    rows, columns = below.shape
    bright = below[: rows // 2 - 9, : columns // 2 - 9]
    assert bright.mean() > 0.99
    assert below[rows // 2 + 9 :].max() < 0.01
    assert below[:, columns // 2 + 9 :].max() < 0.01


def test_a_long_case_name_is_shortened_and_equal_results_are_equal_files(
    result, landmarks, tmp_path
):
    long = replace(result, landmarks=only(landmarks, "L4"), case="1.2.840." + "7" * 50)
    other = replace(long, case="1.2.840.77" + "6" * 40 + "7" * 8)
    for name, one in (("a", long), ("b", long), ("c", other)):
        draw_overlay(one, tmp_path / f"{name}.png")
    pictures = [(tmp_path / f"{name}.png").read_bytes() for name in "abc"]
    assert pictures[0] == pictures[1] == pictures[2]
