"""What a process needs to build its program from a bundle's ``inference.yaml``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.data import DataLoader
from monai.engines import EnsembleEvaluator

from spine_monai.files import sha256_of_file
from spine_monai.workflows.bundle import describe_config, parse_config
from spine_monai.workflows.job import Job
from spine_monai.workflows.outputs import DEFAULT_FORMATS, check_formats
from spine_monai.workflows.slice_choice import Item, Predict

INFERENCE_FILE = "inference.yaml"
TORCH = "torch"


class EvaluatorPredict:
    """A bundle's Ignite evaluator as a ``Predict``.

    Args:
        evaluator: gives ``landmarks`` and ``slice_score`` for each slice.
    """

    def __init__(self, evaluator: EnsembleEvaluator) -> None:
        self.evaluator = evaluator

    def __call__(self, items: Sequence[Item]) -> Sequence[Item]:
        """Run the evaluator on the slices of one case, one batch in a loader of its own."""
        images = [{"image": item["image"]} for item in items]
        self.evaluator.data_loader = DataLoader(images, batch_size=len(images))
        self.evaluator.state.epoch_length = 1
        try:
            self.evaluator.run()
        except BaseException:
            # Else Ignite would resume the broken run, and hand its outputs to the next case.
            self.evaluator._internal_run_generator = None
            raise
        outputs: Sequence[Item] = self.evaluator.state.output
        return outputs


@dataclass(frozen=True)
class Recipe:
    """All that a process needs to build its ``Localizer``; small, and sent to other processes.

    Args:
        bundle: folder of the bundle.
        output_dir: where the case folders go.
        formats: kinds of files to write.
        values: ids of ``inference.yaml`` and their values.
        backend: ``torch``, or what runs an exported file: ``onnxruntime``, ``openvino``.
        model: the exported file.
    """

    bundle: Path
    output_dir: Path
    formats: tuple[str, ...] = DEFAULT_FORMATS
    values: Mapping[str, Any] = field(default_factory=dict)
    backend: str = TORCH
    model: Path | None = None

    def __post_init__(self) -> None:
        if (self.backend == TORCH) != (self.model is None):
            msg = "backend and model must go together: a model file needs --backend onnxruntime or "
            msg += f"openvino, and those need a model file: got {self.backend} with {self.model}."
            raise ValueError(msg)
        if self.model is not None and not self.model.is_file():
            msg = f"model must be a file that `spine-monai export` wrote: {self.model} is none."
            raise FileNotFoundError(msg)

    def parse(self) -> Any:
        """Return the bundle's configuration with the values in it, and no study of its own."""
        given = {"formats": list(self.formats), "output_dir": str(self.output_dir.absolute())}
        parser = parse_config(self.bundle, INFERENCE_FILE, **{**given, **self.values})
        parser["dataset::data"] = []
        return parser

    def job(self, parser: Any) -> Job:
        """Return what is done with each case."""
        options = dict(parser.get_parsed_content("report::result_options"))
        if self.model is not None:
            options |= {
                "precision": "float32",
                "backend": self.backend,
                "model_sha256": sha256_of_file(self.model),
            }
        overwrite = bool(parser.get_parsed_content("overwrite"))
        bundle = describe_config(parser)
        return Job(self.output_dir, check_formats(self.formats), bundle, options, overwrite)

    def predict(self, parser: Any) -> Predict:
        """Load the networks, or the exported file."""
        if self.model is None:
            return EvaluatorPredict(parser.get_parsed_content("evaluator"))
        from spine_monai.workflows.backends import exported_predict

        predict: Predict = exported_predict(self.model, self.backend, parser)
        return predict
