"""The whole jobs: localize, evaluate, train. The only part of the package that reads bundles."""

from spine_monai.workflows.evaluation import evaluate
from spine_monai.workflows.localization import localize
from spine_monai.workflows.stages import train

__all__ = ["evaluate", "localize", "train"]
