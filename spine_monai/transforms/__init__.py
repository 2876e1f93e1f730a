"""MONAI dictionary transforms of this package; the mathematics lives in the modules below.

Names end in ``d`` as MONAI's do. Load, slice and target transforms prepare data; decode and fuse
transforms come after the networks.
"""

from spine_monai.transforms.augment import RandAffineSliced, RandFieldOfViewd, RandIntensityd
from spine_monai.transforms.decode import DecodeCoordinatesd, DecodeHeatmapsd, ProjectPointsd
from spine_monai.transforms.fuse import FuseHeatmapsd
from spine_monai.transforms.load import LoadSpineStudyd
from spine_monai.transforms.scale import CropAboutPointsd, PhysicalScaled
from spine_monai.transforms.score import ScoreSliced
from spine_monai.transforms.slices import CentralSlicesd, SagittalSliced
from spine_monai.transforms.targets import DrawHeatmaps, EdgeFractionsd, PixelPointsd
from spine_monai.transforms.views import CutViewd

__all__ = [
    "CentralSlicesd",
    "CropAboutPointsd",
    "CutViewd",
    "DecodeCoordinatesd",
    "DecodeHeatmapsd",
    "DrawHeatmaps",
    "EdgeFractionsd",
    "FuseHeatmapsd",
    "LoadSpineStudyd",
    "PhysicalScaled",
    "PixelPointsd",
    "ProjectPointsd",
    "RandAffineSliced",
    "RandFieldOfViewd",
    "RandIntensityd",
    "SagittalSliced",
    "ScoreSliced",
]
