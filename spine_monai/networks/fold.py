"""Fold batch norms into the convolutions before them: in inference both are one linear map."""

import copy
from itertools import pairwise
from typing import TypeVar, cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_eval

from spine_monai.networks.sequences import sequences

Network = TypeVar("Network", bound=nn.Module)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def folded(network: Network) -> Network:
    """Return a copy for inference without the batch norms that directly follow a convolution.

    Only norms with running statistics are folded, and only where the order is certain; see
    ``sequences``. What cannot be folded stays as it is.

    Args:
        network: with its weights loaded; it is not changed.
    """
    copied = copy.deepcopy(network).eval()
    for steps in sequences(copied):
        for first, second in pairwise(steps):
            convolution, norm = first.module, second.module
            if not first.is_used_once or type(convolution) not in CONVOLUTIONS:
                continue
            if isinstance(norm, _BatchNorm) and norm.running_mean is not None:
                first.replace_by(fuse_conv_bn_eval(cast(_ConvNd, convolution), norm))
                second.replace_by(nn.Identity())
    return copied
