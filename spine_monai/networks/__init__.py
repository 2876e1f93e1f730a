"""Network architectures, one a file, and what every network needs: weights, and fast inference."""

from spine_monai.networks.autocast import AutocastInferer
from spine_monai.networks.fcn import FCN8s
from spine_monai.networks.hourglass import StackedHourglass
from spine_monai.networks.hrnet import HRNet
from spine_monai.networks.inferer import PlainInferer
from spine_monai.networks.integral import IntegralXception
from spine_monai.networks.precision import group_norm_memory_format, precision_name
from spine_monai.networks.prepared import prepare
from spine_monai.networks.spatial_configuration import SpatialConfigurationNet
from spine_monai.networks.weights import load_weights, save_weights, with_output_bias
from spine_monai.networks.xception import Xception

__all__ = [
    "AutocastInferer",
    "FCN8s",
    "HRNet",
    "IntegralXception",
    "PlainInferer",
    "SpatialConfigurationNet",
    "StackedHourglass",
    "Xception",
    "group_norm_memory_format",
    "load_weights",
    "precision_name",
    "prepare",
    "save_weights",
    "with_output_bias",
]
