"""The peaks of the heatmaps, against numpy's sliding windows."""

import itertools

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from spine_monai.candidates import find_candidates

B, N, K, H, W = 2, 4, 3, 70, 48
SPACING_MM = torch.tensor([[1.5, 1.0], [1.5, 1.0]])
GROUPS = (0, 1, 0, 1)


def log_sigmoid(values):
    return -np.logaddexp(0, -np.asarray(values, dtype=np.float64))


def highest_in(maps, rows, columns):
    """(..., H, W) maximum of the window of so many rows and columns about each pixel."""
    margins = [(0, 0)] * (maps.ndim - 2) + [(rows // 2, rows // 2), (columns // 2, columns // 2)]
    padded = np.pad(maps, margins, constant_values=-np.inf)
    return sliding_window_view(padded, (rows, columns), axis=(-2, -1)).max((-2, -1))


def smooth_logits(seed=0):
    noise = np.random.default_rng(seed).normal(size=(B, N, H + 6, W + 6))
    return torch.tensor(
        14 * sliding_window_view(noise, (7, 7), axis=(-2, -1)).mean((-2, -1)) - 4
    ).float()


def peak_logits(peaks, shape=(H, W)):
    """(H, W) logits with bumps ``(row, column, height)`` over a gently inclined floor."""
    rows, columns = np.indices(shape)
    bumps = [h - ((rows - i) ** 2 + (columns - j) ** 2) / 18 for i, j, h in peaks]
    floor = -9 - 1e-3 * rows - 1e-4 * columns
    return torch.tensor(np.maximum.reduce([floor, *bumps])).float()


def there(candidates, image, landmark):
    """The candidates that there are, as a set of pixels."""
    known = candidates.points_ij[image, landmark][candidates.is_there[image, landmark]]
    return {tuple(map(int, place)) for place in known.tolist()}


def test_candidates_are_the_highest_peaks_that_sliding_windows_find():
    logits, count = smooth_logits(), 9
    candidates = find_candidates(logits, GROUPS, SPACING_MM, count=count)
    for image, landmark in itertools.product(range(B), range(N)):
        kind = [n for n in range(N) if GROUPS[n] == GROUPS[landmark]]
        union = logits[image, kind].amax(0).numpy()
        is_peak = union == highest_in(union, 9, 13)
        heights = np.where(is_peak, union, -np.inf).ravel()
        best = np.argsort(-heights)[:count]
        expected = np.stack(np.unravel_index(best, (H, W)), -1)
        np.testing.assert_array_equal(candidates.points_ij[image, landmark], expected)
        own = highest_in(logits[image, landmark].numpy(), 7, 9)
        heat = log_sigmoid(own[tuple(expected.T)])
        np.testing.assert_allclose(candidates.log_heat[image, landmark], heat, rtol=1e-5)
    assert candidates.is_there.all()


def test_candidates_are_shared_within_a_kind_and_not_across_kinds():
    peaks = [(12, 9, 2.0), (40, 20, 1.0), (25, 33, 0.5), (60, 38, 0.0)]
    one = torch.stack([peak_logits([peak]) for peak in peaks])
    logits = torch.stack([one, one.flip(-1)])
    candidates = find_candidates(logits, GROUPS, SPACING_MM, count=2)
    assert there(candidates, 0, 0) == there(candidates, 0, 2) == {(12, 9), (25, 33)}
    assert there(candidates, 0, 1) == there(candidates, 0, 3) == {(40, 20), (60, 38)}
    assert there(candidates, 1, 1) == {(40, W - 21), (60, W - 39)}
    own, other = candidates.log_heat[0, 0].tolist()
    assert own == pytest.approx(log_sigmoid(2.0), rel=1e-5)
    assert other < -8


def test_peaks_that_are_closer_than_six_millimetres_are_one():
    spacing_mm = torch.tensor([[1.0, 1.0]])
    for apart, expected in ((5, {(20, 10)}), (8, {(20, 10), (28, 10)})):
        logits = torch.full((1, 1, H, W), -9.0)
        logits[0, 0, 20, 10], logits[0, 0, 20 + apart, 10] = 2.0, 1.0
        found = find_candidates(logits, [0], spacing_mm, count=len(expected))
        assert there(found, 0, 0) == expected


def test_peaks_are_kept_apart_by_millimetres_along_each_axis():
    """Twelve millimetres are four columns here, but more than six rows."""
    logits = torch.full((1, 1, H, W), -9.0)
    logits[0, 0, 20, 10], logits[0, 0, 20, 14] = 2.0, 1.0
    found = find_candidates(logits, [0], torch.tensor([[1.0, 3.0]]), count=2)
    assert there(found, 0, 0) == {(20, 10), (20, 14)}


def test_pixels_of_equal_height_are_one_peak():
    """Heatmaps come from reduced precision, in which tops are often flat."""
    logits = peak_logits([(20, 10, 2.0), (50, 30, 1.0)])
    logits[20:22, 10:12] = 2.0
    logits[50, 30:33] = 1.0
    found = find_candidates(logits[None, None], [0], SPACING_MM[:1], count=3)
    assert there(found, 0, 0) >= {(20, 10), (50, 30)}
    assert not there(found, 0, 0) & {(20, 11), (21, 10), (21, 11), (50, 31), (50, 32)}


def test_what_is_more_than_the_peaks_is_not_there():
    logits = torch.stack([peak_logits([(20, 10, 2.0), (50, 30, 1.0)])] * N).expand(B, -1, -1, -1)
    candidates = find_candidates(logits, GROUPS, SPACING_MM, count=40)
    assert candidates.points_ij.shape == (B, N, 40, 2)
    assert candidates.is_there[..., :2].all()
    assert not candidates.is_there[..., 10:].any()


def test_a_candidate_in_a_corner_is_found():
    corners = [(0, 0, 2.0), (0, W - 1, 1.5), (H - 1, 0, 1.0), (H - 1, W - 1, 0.5)]
    logits = peak_logits(corners)[None, None]
    found = find_candidates(logits, [0], SPACING_MM[:1], count=4)
    assert there(found, 0, 0) == {corner[:2] for corner in corners}
    heat = log_sigmoid([height for *_, height in corners])
    np.testing.assert_allclose(found.log_heat[0, 0], heat, rtol=1e-5)


def test_places_stay_whole_pixels_in_half_precision():
    logits = peak_logits([(301, 10, 2.0)], (330, 20))[None, None].bfloat16()
    found = find_candidates(logits, [0], torch.tensor([[1.0, 1.0]]), count=1)
    assert abs(found.points_ij[0, 0, 0, 0].item() - 301) <= 1
    assert found.points_ij.dtype == torch.float32


def first_peaks(union, rows, columns):
    """Pixels without a higher one in their window, nor an equal one before them; highest first."""
    peaks = []
    for i, j in np.ndindex(union.shape):
        top, left = max(i - rows, 0), max(j - columns, 0)
        window = union[top : i + rows + 1, left : j + columns + 1]
        first = np.unravel_index(window.argmax(), window.shape)
        if (top + first[0], left + first[1]) == (i, j):
            peaks.append((i, j))
    return sorted(peaks, key=lambda place: -union[place])


MAPS = {
    "smooth": lambda logits: logits,
    "noise": lambda logits: torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)),
    "plateaus": lambda logits: (logits / 3).round(),
    "cut off": lambda logits: logits.clamp(-5.0, -3.0),
    "constant": torch.zeros_like,
}


@pytest.mark.parametrize("shape", [(70, 48), (33, 29), (9, 4)])
@pytest.mark.parametrize("spacing_mm", [(1.5, 1.0), (0.6, 3.5), (7.0, 0.4)])
@pytest.mark.parametrize("kind", MAPS)
def test_peaks_are_those_of_every_pixels_window(kind, spacing_mm, shape):
    """However the maps are cut into blocks; of equal pixels the first in reading order counts."""
    union = MAPS[kind](smooth_logits(5)[:1, :1, : shape[0], : shape[1]])
    rows, columns = (max(1, round(6.0 / step)) for step in spacing_mm)
    expected = first_peaks(union[0, 0].numpy(), rows, columns)
    found = find_candidates(union, [0], torch.tensor([spacing_mm]), count=12)
    heights = [union[0, 0][place].item() for place in expected[:12]]
    own = [tuple(map(int, p)) for p in found.points_ij[0, 0][found.is_there[0, 0]].tolist()]
    assert [union[0, 0][place].item() for place in own] == heights
    assert set(own) <= set(expected)
    assert len(set(own)) == len(own) == min(12, len(expected))


def test_each_image_has_windows_by_its_own_spacing():
    logits = smooth_logits(6)
    spacing_mm = torch.tensor([[1.5, 1.0], [0.5, 2.6]])
    both = find_candidates(logits, GROUPS, spacing_mm, count=6)
    for image in range(B):
        one = slice(image, image + 1)
        alone = find_candidates(logits[one], GROUPS, spacing_mm[one], count=6)
        for ours, expected in zip(alone, both, strict=True):
            assert torch.equal(ours, expected[one])


def test_kinds_in_any_order_share_their_peaks():
    logits = smooth_logits(7)
    shuffled = find_candidates(logits[:, [0, 2, 1, 3]], (0, 0, 1, 1), SPACING_MM, count=5)
    plain = find_candidates(logits, GROUPS, SPACING_MM, count=5)
    irregular = find_candidates(logits[:, [0, 1, 3, 2]], (0, 1, 1, 0), SPACING_MM, count=5)
    for name in ("points_ij", "log_heat", "is_there"):
        expected = getattr(plain, name)
        assert torch.equal(getattr(shuffled, name), expected[:, [0, 2, 1, 3]])
        assert torch.equal(getattr(irregular, name), expected[:, [0, 1, 3, 2]])
