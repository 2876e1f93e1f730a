"""An exported file in 8-bit integers, by ONNX Runtime's static post-training quantization."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from spine_monai.workflows.backends import batch_of

LAYERS = ["Conv", "ConvTranspose"]


class Slices(CalibrationDataReader):
    """Feeds slices, from which the ranges of the activations are taken."""

    def __init__(self, items: Sequence[Mapping[str, Any]]) -> None:
        self._feeds: Iterator[dict[str, NDArray[np.float32]]] = iter(
            [dict(zip(("image", "spacing_mm"), batch_of([item]), strict=True)) for item in items]
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next slice."""
        return next(self._feeds, None)


def quantize(file: Path, items: Sequence[Mapping[str, Any]], target: Path) -> Path:
    """Write the ONNX file again with its convolutions in 8 bits, per channel, and return it."""
    ready = target.with_suffix(".ready")
    logging.disable(logging.WARNING)  # it advises what was just done
    quant_pre_process(str(file), str(ready), skip_symbolic_shape=True)
    quantize_static(
        str(ready),
        str(target),
        Slices(items),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=LAYERS,
    )
    logging.disable(logging.NOTSET)
    model = onnx.load(target)
    del model.metadata_props[:]
    model.metadata_props.extend(onnx.load(file).metadata_props)
    onnx.save(model, target)
    return target
