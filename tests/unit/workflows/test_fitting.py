"""The radii's factor, against the definition written out; the rest runs on planted predictions."""

import numpy as np
import pytest
import torch

from spine_monai.joint import JointFusion
from spine_monai.workflows.fitting import (
    conformal_quantile,
    conformity_scores,
    decode_item,
    errors_mm,
)

GROUPS = (1, 0, 1)
COLUMN_IJ = torch.tensor([[14.0, 20.0], [26.0, 21.5], [38.0, 20.0]])
SPACING_MM = torch.tensor([1.5, 1.0])
SHAPE = (54, 40)


def by_definition(scores, subjects, coverage):
    """The least score at which the mean of the subjects' shares reaches the coverage."""
    names = sorted(set(subjects))
    for score in sorted(scores):
        shares = [np.mean(scores[subjects == name] <= score) for name in names]
        if np.mean(shares) >= coverage - 1e-9:
            return score
    return max(scores)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.99])
def test_the_quantile_is_the_one_of_the_definition(coverage):
    generator = np.random.default_rng(0)
    subjects = np.array(["a"] * 11 + ["b"] * 3 + ["c"] * 7 + ["d"] * 11 + ["e"] * 9)
    scores = generator.exponential(size=len(subjects))
    ours = conformal_quantile(scores, subjects, coverage)
    assert ours == pytest.approx(by_definition(scores, subjects, coverage))


def test_every_subject_weighs_the_same_however_many_landmarks_it_has():
    subjects = np.array(["many"] * 98 + ["few"] * 2 + ["other"] * 2)
    scores = np.concatenate([np.full(98, 1.0), np.full(4, 3.0)])
    assert conformal_quantile(scores, subjects, 0.33) == 1.0
    assert conformal_quantile(scores, subjects, 0.34) == 3.0


def test_the_quantile_covers_a_new_subject_as_often_as_wanted():
    generator = np.random.default_rng(1)
    covered = []
    for _ in range(300):
        level = generator.exponential(size=(21, 1))  # subjects differ
        scores = level * generator.exponential(size=(21, 11))
        names = np.repeat(np.arange(20), 11).astype(str)
        quantile = conformal_quantile(scores[:20].ravel(), names, 0.8)
        covered.append((scores[20] <= quantile).mean())
    assert 0.74 < np.mean(covered) < 0.84


def item(points_ij, subject="s"):
    """Heatmaps with a peak of 3 px at each point of a column; the truth is the plain column."""
    rows, columns = torch.arange(SHAPE[0])[:, None], torch.arange(SHAPE[1])
    squares = [(rows - i) ** 2 + (columns - j) ** 2 for i, j in points_ij]
    return {
        "subject": subject,
        "image": torch.stack([4.0 - square / 18 for square in squares]),
        "predicted_ij": COLUMN_IJ + 1.0,
        "spacing_mm": SPACING_MM,
        "label": COLUMN_IJ,
        "view_ij": torch.tensor([[0.0, 0.0], [53.0, 39.0]]),
    }


@pytest.fixture
def joint():
    model = JointFusion(GROUPS, target_sigma_mm=3.6)
    steps_mm = (COLUMN_IJ * SPACING_MM).diff(dim=0)
    model.chain.chain_mean_mm.copy_(steps_mm)
    model.chain.chain_cov_mm2.copy_(4 * torch.eye(2).expand(2, 2, 2))
    return model.eval()


def test_errors_are_millimetres_along_rows_and_columns():
    moved = COLUMN_IJ + torch.tensor([[2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])
    np.testing.assert_allclose(errors_mm(moved, item(COLUMN_IJ)), [3.0, 4.0, 5.0])


def test_scores_are_errors_over_radii_and_know_their_subject(joint):
    off = COLUMN_IJ + torch.tensor([0.0, 3.0])
    items = [item(COLUMN_IJ, "near"), item(off, "far")]
    scores, subjects = conformity_scores(joint, items)
    assert subjects.tolist() == ["near"] * 3 + ["far"] * 3
    radii = decode_item(joint, items[1]).radius95_mm[0].numpy()
    np.testing.assert_allclose(scores[3:], 3.0 / radii, rtol=0.02)
    assert scores[:3].max() < 0.02


def test_a_landmark_that_was_not_found_has_no_score(joint):
    hidden = item(COLUMN_IJ)
    hidden["image"][2] = -40.0
    hidden["view_ij"] = torch.tensor([[0.0, 0.0], [32.0, 39.0]])
    scores, _ = conformity_scores(joint, [hidden])
    assert len(scores) == 2
