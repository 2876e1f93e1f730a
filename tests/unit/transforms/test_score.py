import numpy as np
import torch
from monai.data import MetaTensor

from spine_monai.geometry import points_lps_from_ij
from spine_monai.landmarks import LUMBAR11, LandmarkSet
from spine_monai.transforms import ScoreSliced


def test_the_score_is_the_brightness_behind_the_landmark_less_where_it_is_unsure():
    affine = np.array([[0, 0, 4.0, 1], [0, -1.5, 0, 2], [-1.2, 0, 0, 3], [0, 0, 0, 1]])
    pixels = torch.zeros(1, 200, 120)
    pixels[..., 40:70] = 0.75  # 27 mm behind column 37
    rows = np.linspace(15, 180, 11)
    points_lps = points_lps_from_ij(np.stack([rows, np.full(11, 37.0)], -1), affine)
    confidence = np.full(11, 0.97)
    confidence[3], confidence[8] = 0.1, np.nan
    points_lps[8] = np.nan
    landmarks = LandmarkSet(LUMBAR11, points_lps, confidence, np.full(11, 2.0), min_confidence=0.4)
    item = {"image": MetaTensor(pixels, affine=affine), "landmarks": landmarks}
    scores = ScoreSliced("image")(item)["slice_score"]
    others = [0, 1, 2, 4, 5, 6, 7, 9, 10]
    np.testing.assert_allclose(scores[others], 0.75, atol=1e-5)
    np.testing.assert_allclose(scores[3], 0.75 / 4, atol=1e-5)
    assert scores[8] == 0
