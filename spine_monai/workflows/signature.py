"""What an exported file says about itself, and whether it belongs to a bundle.

One JSON document goes into every file, under ``SIGNATURE_KEY``. Of two files with one ``IDENTITY``
the results are equal; values that do not change what the graph does, such as which slices are
looked at, are no part of it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spine_monai import __version__
from spine_monai.fusion.windows import FINEST_MM
from spine_monai.landmarks import load_registry
from spine_monai.workflows.bundle import describe_config

SIGNATURE_KEY = "spine_monai"
FORMAT, FORMAT_VERSION = "spine_monai.exported", 1
IDENTITY = ("weights_sha256", "landmarks", "preprocessing", "canvas_size", "window_size")
CHOICE_OF_SLICES = ("LoadSpineStudyd", "CentralSlicesd", "SagittalSliced")
USE = "Research only. Never for diagnosis, treatment or any other clinical use."
INPUTS = {
    "image": "(batch, 1, height, width) float32: upright sagittal slices (rows towards the feet, "
    "columns towards posterior), preprocessed as said under preprocessing",
    "spacing_mm": "(batch, 2) float32: between rows and between columns of the image",
}
OUTPUTS = {
    "points_ij": "(batch, landmarks, 2): row and column in pixels of the image, whole numbers at "
    "pixel centres; NaN where a landmark is absent",
    "confidence": "(batch, landmarks): probability that the point lies within 8 mm",
    "radius95_mm": "(batch, landmarks): radius that holds 95 % of the belief",
    "rival_heat": "(batch,): how brightly, 0 to 1, the last landmark is seen at another level",
}


def signature_of(config: Any) -> dict[str, Any]:
    """Return the document of a bundle.

    Args:
        config: the bundle's parsed ``inference.yaml``.

    Raises:
        ValueError: a weights file is missing.
    """
    bundle = describe_config(config)
    reported = load_registry(config.get_parsed_content("reported_set"))
    is_coarse_to_fine = config["iteration"] is not None
    sizes = {name: config[name] if is_coarse_to_fine else None for name in IDENTITY[-2:]}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "use": USE,
        "software": {"name": "spine_monai", "version": __version__},
        "bundle": {key: bundle[key] for key in ("name", "version")},
        "weights_sha256": bundle["weights_sha256"],
        "landmark_set": reported.name,
        "landmarks": list(reported.names),
        "preprocessing": _preprocessing(config),
        **sizes,
        "min_confidence": config.get_parsed_content("min_confidence"),
        "calibrated": bool(config.get_parsed_content("fusion").is_calibrated),
        "finest_spacing_mm": FINEST_MM,
        "inputs": INPUTS,
        "outputs": OUTPUTS,
    }


def read_signature(text: str | None, file: Path) -> dict[str, Any]:
    """Return the document that a file holds.

    Raises:
        ValueError: the file holds none, or one of another version.
    """
    try:
        document = json.loads(text or "{}")
    except json.JSONDecodeError:
        document = {}
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        msg = f"{file} must be a file of `spine-monai export`: it does not say so. "
        msg += "Export the bundle."
        raise ValueError(msg)
    if document["format_version"] != FORMAT_VERSION:
        msg = f"{file} must have version {FORMAT_VERSION} of the format: got "
        msg += f"{document['format_version']}. Export the bundle again."
        raise ValueError(msg)
    return document


def check_same_bundle(document: Mapping[str, Any], config: Any, file: Path) -> None:
    """Refuse a file that was exported from another bundle than the one in use.

    Args:
        document: what the file says.
        config: the bundle's parsed ``inference.yaml``.
        file: for the message.

    Raises:
        ValueError: they differ.
    """
    own = signature_of(config)
    different = [key for key in IDENTITY if _plain(document.get(key)) != _plain(own[key])]
    if different:
        msg = f"{file} must be exported from the bundle {config['bundle_root']}: its "
        msg += f"{', '.join(different)} differ. Export this bundle, or name the other one with "
        msg += "--bundle."
        raise ValueError(msg)


def _preprocessing(config: Any) -> list[dict[str, Any]]:
    """The steps that images go through, without those that read and choose them."""
    steps = [_resolved(step, config) for step in config["preprocessing_steps"]]
    return [s for s in steps if s["_target_"].rsplit(".", 1)[-1] not in CHOICE_OF_SLICES]


def _resolved(step: Mapping[str, Any], config: Any) -> dict[str, Any]:
    is_reference = {key: isinstance(v, str) and v.startswith("@") for key, v in step.items()}
    return {
        key: config.get_parsed_content(value[1:]) if is_reference[key] else value
        for key, value in step.items()
    }


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
