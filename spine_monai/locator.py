"""From an equalized slice to its landmarks in one module: both networks, fusion and chain.

What the bundle's evaluator does in Python between the networks (cut the window, carry points from
grid to grid) is done here with tensors of any batch and image size, so that one graph holds it all.

Points are ``points_ij`` in pixels of the input image. Symbols: B images, N landmarks, H W.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spine_monai.chain import Beliefs, SpineChain, best_path, best_scores, forward_scores
from spine_monai.fusion import FusedPoints, FusionModel
from spine_monai.heatmaps import ij_from_edge_fractions
from spine_monai.joint import JointFusion


class Located(NamedTuple):
    """The landmarks of B images.

    Args:
        points_ij: (B, N, 2) points in pixels of the input image; NaN where absent.
        confidence: (B, N) probability that the point lies within 8 mm; NaN where absent.
        radius95_mm: (B, N) radius that holds 95 % of the belief; NaN where absent.
        rival_heat: (B,) how brightly, 0 to 1, the last landmark of the networks is seen at another
            level; NaN where it is absent or candidates were not compared.
    """

    points_ij: Tensor
    confidence: Tensor
    radius95_mm: Tensor
    rival_heat: Tensor


class WholeImageLocator(nn.Module):
    """Both networks look at the whole image.

    Args:
        coordinates: from (B, 1, H, W) to (B, M, 2) edge fractions.
        heatmaps: from (B, 1, H, W) to (B, M, H, W) logits.
        fusion: decides.
        reported: which N of the M landmarks are given back, in which order.
    """

    def __init__(
        self,
        coordinates: nn.Module,
        heatmaps: nn.Module,
        fusion: JointFusion | FusionModel,
        reported: Sequence[int],
    ) -> None:
        super().__init__()
        self.coordinates, self.heatmaps = coordinates, heatmaps
        self.fusion = with_logarithms(fusion)
        self.reported = list(reported)

    def forward(self, image: Tensor, spacing_mm: Tensor) -> Located:
        """Find the landmarks.

        Args:
            image: (B, 1, H, W) slices, preprocessed as for the networks.
            spacing_mm: (B, 2) between rows and between columns.
        """
        predicted_ij = ij_from_edge_fractions(self.coordinates(image), image.shape[-2:])
        last = _size_of(image) - 1
        view_ij = torch.stack([torch.zeros_like(last), last]).expand(image.shape[0], 2, 2)
        fused = self.fusion.decode(self.heatmaps(image), predicted_ij, spacing_mm, view_ij)
        return _reported(fused, fused.points_ij, self.reported)


class CoarseToFineLocator(nn.Module):
    """The coordinate network sees a canvas, the heatmap network a window that those place.

    Equal to ``CoarseToFine`` of the workflows, which moves images with their affines.

    Args:
        coordinates: from (B, 1, rows, columns) of the canvas to (B, M, 2) edge fractions.
        heatmaps: from (B, 1, rows, columns) of the window to (B, M, rows, columns) logits.
        fusion: decides.
        reported: which N of the M landmarks are given back, in which order.
        canvas_size: (rows, columns) in pixels.
        window_size: (rows, columns) in pixels.
    """

    def __init__(
        self,
        coordinates: nn.Module,
        heatmaps: nn.Module,
        fusion: JointFusion | FusionModel,
        reported: Sequence[int],
        *,
        canvas_size: Sequence[int],
        window_size: Sequence[int],
    ) -> None:
        super().__init__()
        self.coordinates, self.heatmaps = coordinates, heatmaps
        self.fusion = with_logarithms(fusion)
        self.reported = list(reported)
        self.canvas_size, self.window_size = tuple(canvas_size), tuple(window_size)

    def forward(self, image: Tensor, spacing_mm: Tensor) -> Located:
        """Find the landmarks.

        Args:
            image: (B, 1, H, W) slices at the networks' scale, equalized to 0 ... 1; of any size.
            spacing_mm: (B, 2) between rows and between columns.
        """
        size = _size_of(image)
        on_canvas = _canvas_start(size, self.canvas_size).expand(image.shape[0], 2)
        fractions = self.coordinates(cut(image, on_canvas, self.canvas_size))
        predicted_ij = ij_from_edge_fractions(fractions, self.canvas_size) + on_canvas[:, None]
        start = _window_start(predicted_ij, size, self.window_size)
        logits = self.heatmaps(cut(image, start, self.window_size))
        view_ij = torch.stack([-start, size - 1 - start], 1)
        fused = self.fusion.decode(logits, predicted_ij - start[:, None], spacing_mm, view_ij)
        return _reported(fused, fused.points_ij + start[:, None], self.reported)


class ChainInLogarithms(SpineChain):
    """The same chain, its sums as logarithms: for runtimes that have single precision only."""

    @torch.no_grad()
    def decide(self, states: Tensor, moves: Tensor) -> Beliefs:
        """Find the best path and each state's probability; arguments as for ``SpineChain``."""
        path = best_path(best_scores(states, moves), moves)
        before = forward_scores(states, moves)
        after = [torch.zeros_like(before[-1])]
        for landmark in range(states.shape[2] - 1, 0, -1):
            ahead = after[-1] + states[:, None, :, landmark]
            onwards = moves[:, :, None, landmark - 1] + ahead[..., None, :]
            after.append(onwards.logsumexp(-1))
        sums = [a + b for a, b in zip(before, after[::-1], strict=True)]  # N (B, G, E, S)
        per_state = torch.stack(sums, 1).flatten(2, 3).logsumexp(2)
        return Beliefs(path, per_state.softmax(-1))


def with_logarithms(fusion: JointFusion | FusionModel) -> JointFusion | FusionModel:
    """Return a copy whose chain, if it has one, needs single precision only."""
    fusion = copy.deepcopy(fusion)
    if isinstance(fusion, JointFusion):
        chain = ChainInLogarithms(fusion.chain.groups)
        chain.load_state_dict(fusion.chain.state_dict())
        fusion.chain = chain
    return fusion


def cut(images: Tensor, start_ij: Tensor, size: Sequence[int]) -> Tensor:
    """Cut a window out of each image; zeros beyond its edges.

    Args:
        images: (B, 1, H, W).
        start_ij: (B, 2) whole pixel that becomes the window's first one; may lie outside.
        size: (rows, columns) of the windows.

    Returns:
        (B, 1, rows, columns).
    """
    height, width = images.shape[-2:]
    first = start_ij.long()
    rows, columns = (
        first[:, axis, None] + torch.arange(count, device=images.device)
        for axis, count in enumerate(size)
    )
    is_row, is_column = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    inside = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    flat = inside[0][:, :, None] * width + inside[1][:, None]
    pixels = images.flatten(1).gather(1, flat.flatten(1)).unflatten(1, (size[0], size[1]))
    return (pixels * (is_row[:, :, None] & is_column[:, None]))[:, None]


def _size_of(image: Tensor) -> Tensor:
    """(2,) rows and columns, as a tensor that follows the image in every graph."""
    sides = [torch.full((1,), side, device=image.device) for side in image.shape[-2:]]
    return torch.cat(sides).to(image.dtype)


def _canvas_start(size: Tensor, canvas_size: Sequence[int]) -> Tensor:
    """(2,) pixel that the canvas begins with: padded or cut evenly, as MONAI does."""
    canvas = size.new_tensor([float(side) for side in canvas_size])
    padding = ((canvas - size).clamp_min(0) / 2).floor()
    cut_off = ((size / 2).floor() - (canvas / 2).floor()).clamp_min(0)
    return cut_off - padding


def _window_start(points_ij: Tensor, size: Tensor, window_size: Sequence[int]) -> Tensor:
    """(B, 2) pixel that the window about the points' mean begins with."""
    is_known = torch.isfinite(points_ij).all(-1, keepdim=True)
    count = is_known.sum(1)
    mean = points_ij.masked_fill(~is_known, 0.0).sum(1) / count.clamp_min(1)
    centre = torch.where(count > 0, mean, (size - 1) / 2)
    centre = torch.minimum(centre.clamp_min(0), size - 1)
    window = size.new_tensor([float(side) for side in window_size])
    return (centre - (window - 1) / 2).round()


def _reported(fused: FusedPoints, points_ij: Tensor, rows: list[int]) -> Located:
    confidence = fused.confidence
    rival_heat = fused.rival_heat
    doubt = confidence[:, -1] * torch.nan if rival_heat is None else rival_heat[:, -1]
    return Located(points_ij[:, rows], confidence[:, rows], fused.radius95_mm[:, rows], doubt)
