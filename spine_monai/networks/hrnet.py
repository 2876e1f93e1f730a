"""HRNet: a branch for each resolution from stride 4 to 32, which exchange what they see.

Provenance: written from the paper, Sun 2019, doi 10.1109/CVPR.2019.00584 (sections 3 and 4.1). No
weights of others. At widths 32 and 48 it has the published size (a test counts it).

Ours: group norm for batch norm, a stem that is narrow where the branches are, and the heatmaps at
stride 4 are upsampled to the input.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STAGES = ((2, 1), (3, 4), (4, 3))  # branches, exchanges
BLOCKS = 4
EXPANSION = 4
GROUPS = 8


class HRNet(nn.Module):
    """Draw a heatmap for each landmark from features that never leave stride 4.

    Args:
        num_landmarks: N.
        in_channels: C of the input image.
        width: channels of the branch at stride 4, a multiple of 8, doubled at each lower one; 32
            or 48 in the paper.
        stem_channels: of the convolutions before the branches, a multiple of 8; 64 in the paper.
    """

    def __init__(
        self,
        num_landmarks: int,
        *,
        in_channels: int = 1,
        width: int = 16,
        stem_channels: int = 32,
    ) -> None:
        super().__init__()
        self.stem = _stem(in_channels, stem_channels)
        self.stages = _stages(EXPANSION * stem_channels, width)
        self.head = nn.Conv2d(width, num_landmarks, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of the heatmaps.

        Args:
            image: (B, C, H, W), H and W divisible by 32.

        Returns:
            (B, N, H, W) logits.
        """
        (highest,) = self.stages([self.stem(image)])
        logits = self.head(highest).float()
        return F.interpolate(logits, size=image.shape[-2:], mode="bilinear")


class NewBranch(nn.Module):
    """One branch more, at half the resolution of the lowest; the others stay as they are."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.down = nn.Sequential(_convolution(in_channels, out_channels, 3, stride=2), nn.ReLU())

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """Return the branches and the new one, from high to low resolution."""
        return [*branches, self.down(branches[-1])]


class FirstBranches(NewBranch):
    """The stem's features as the first branch, in its width, and a second branch from them."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__(in_channels, 2 * width)
        self.narrow = nn.Sequential(_convolution(in_channels, width, 3), nn.ReLU())

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """Return two branches for a list of one."""
        stem, lower = super().forward(branches)
        return [self.narrow(stem), lower]


class Exchange(nn.Module):
    """Residual blocks on each branch, then each output as the sum of all branches.

    Args:
        widths: channels of the branches, from high to low resolution.
        outputs: how many branches to return, the highest first.
    """

    def __init__(self, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width) for _ in range(BLOCKS))) for width in widths
        )
        self.paths = nn.ModuleList(
            nn.ModuleList(_path(widths, source, target) for source in range(len(widths)))
            for target in range(outputs)
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """Return the branches, each of which has read all."""
        read = [block(branch) for block, branch in zip(self.branches, branches, strict=True)]
        return [_merged(paths, read) for paths in self.paths]


class BasicBlock(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(channels, channels, 3),
            nn.ReLU(inplace=True),
            _convolution(channels, channels, 3),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape, (B, C, H, W)."""
        return F.relu(torch.add(self.body(features), features))


class Bottleneck(nn.Module):
    """Three convolutions with the middle one narrow, beside a shortcut."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        out_channels = EXPANSION * channels
        self.body = nn.Sequential(
            _convolution(in_channels, channels, 1),
            nn.ReLU(inplace=True),
            _convolution(channels, channels, 3),
            nn.ReLU(inplace=True),
            _convolution(channels, out_channels, 1),
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = _convolution(in_channels, out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, 4 * channels, H, W) features."""
        return F.relu(torch.add(self.body(features), self.shortcut(features)))


def _stem(in_channels: int, channels: int) -> nn.Sequential:
    inputs = [channels, *[EXPANSION * channels] * (BLOCKS - 1)]
    return nn.Sequential(
        _convolution(in_channels, channels, 3, stride=2),
        nn.ReLU(inplace=True),
        _convolution(channels, channels, 3, stride=2),
        nn.ReLU(inplace=True),
        *(Bottleneck(before, channels) for before in inputs),
    )


def _stages(in_channels: int, width: int) -> nn.Sequential:
    """From the stem's features to the highest branch; lists of branches in between."""
    steps: list[nn.Module] = [FirstBranches(in_channels, width)]
    for branches, exchanges in STAGES:
        widths = [width * 2**level for level in range(branches)]
        if branches > 2:
            steps.append(NewBranch(widths[-2], widths[-1]))
        steps += [Exchange(widths, outputs=branches) for _ in range(exchanges)]
    steps[-1] = Exchange(widths, outputs=1)  # nothing reads the other branches
    return nn.Sequential(*steps)


def _path(widths: Sequence[int], source: int, target: int) -> nn.Module:
    """What turns one branch into a summand of another: up, down, or nothing."""
    if source > target:
        narrow = _convolution(widths[source], widths[target], 1)
        return nn.Sequential(narrow, nn.Upsample(scale_factor=2 ** (source - target)))
    steps: list[nn.Module] = []
    for before, after in pairwise([*[widths[source]] * (target - source), widths[target]]):
        steps += [_convolution(before, after, 3, stride=2), nn.ReLU(inplace=True)]
    return nn.Sequential(*steps[:-1])  # the activation follows the sum


def _merged(paths: nn.Module, branches: Sequence[Tensor]) -> Tensor:
    summands = [path(branch) for path, branch in zip(paths.children(), branches, strict=True)]
    return F.relu(torch.stack(summands).sum(0))


def _convolution(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
) -> nn.Sequential:
    padding = kernel_size // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False),
        nn.GroupNorm(GROUPS, out_channels),
    )
