"""Heatmap times Gaussian: the paper's fusion, in the log domain, and the belief it leaves.

For landmark n with heatmap logits l_n and predicted point m_n, over the pixels x of the grid::

    log P_n(x) = logsigmoid(l_n(x)) - 1/2 |offset in mm of x from m_n / prior_sigma_mm[n]|^2

(the plain product underflows to an all-zero map a few sigma away from m_n). The argmax of log P_n
says which peak of the heatmap is the landmark; the heatmap alone says where exactly that peak lies
(docs/decisions/0005). The belief is log P_n tempered, normalised over the grid, and mixed with a
uniform floor::

    Q_n(x) = (1 - background_floor) * softmax(log P_n / temperature)(x) + background_floor / pixels

Training needs these maps whole (``log_product``, ``log_belief``). Decoding does not: it keeps the
product as its factors (``Product``), goes over those parts of it that can matter one landmark at a
time, and looks closely at a window about each point.

Grids have their axes along rows and columns; spacing is (between rows, between columns) in mm.
"""

from spine_monai.fusion.belief import FusedPoints, credible_radius_mm, log_belief, without_gradients
from spine_monai.fusion.model import BeliefLoss, FusionModel
from spine_monai.fusion.product import Product, factors, is_finite, log_product, place

__all__ = [
    "BeliefLoss",
    "FusedPoints",
    "FusionModel",
    "Product",
    "credible_radius_mm",
    "factors",
    "is_finite",
    "log_belief",
    "log_product",
    "place",
    "without_gradients",
]
