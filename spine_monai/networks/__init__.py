"""Network architectures, one a file, and what every network needs: weights in and out."""

from spine_monai.networks.autocast import AutocastInferer
from spine_monai.networks.weights import load_weights, save_weights, with_output_bias
from spine_monai.networks.xception import Xception

__all__ = ["AutocastInferer", "Xception", "load_weights", "save_weights", "with_output_bias"]
