"""Where the bundle is, what it holds, and its configuration with the caller's values in it."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

import spine_monai
from spine_monai.files import sha256_of_file

BUNDLE_NAME = "spine_landmarks"
BUNDLE_VARIABLE = "SPINE_MONAI_BUNDLE"
WEIGHTS = ("model.pt", "model_coordinates.pt", "fusion.pt")
WEIGHTS_IDS = ("heatmap_weights", "coordinates_weights", "fusion_weights")  # in inference.yaml
LANDMARK_SETS = ("landmark_set", "reported_set")  # ids there: each a name, or a YAML file


def find_bundle(bundle: str | Path | None = None) -> Path:
    """Return the bundle's folder: the given one, else the environment's, else the shipped one.

    Args:
        bundle: folder, or ``None`` for ``$SPINE_MONAI_BUNDLE``, then the checkout's bundle, then
            the installed one.

    Raises:
        ValueError: the folder is no bundle, or MONAI would misread its path.
    """
    from spine_monai.workflows.checks import check_bundle_root, check_path

    root = Path(bundle or os.environ.get(BUNDLE_VARIABLE) or _own_bundle())
    check_path("bundle", root)
    return check_bundle_root(root)


def _own_bundle() -> Path:
    checkout = Path(spine_monai.__file__).parents[1] / "bundles" / BUNDLE_NAME
    installed = Path(sys.prefix) / "share" / "spine_monai" / "bundles" / BUNDLE_NAME
    return checkout if checkout.is_dir() else installed


def describe_bundle(bundle: Path, weights: Sequence[str | Path] = ()) -> dict[str, Any]:
    """Return name, version and digests: what tells one bundle's results from another's.

    Args:
        bundle: folder of the bundle.
        weights: what is loaded in the place of ``WEIGHTS``, in their order; the bundle's own if
            none are given.

    Raises:
        ValueError: a weights file is missing.
    """
    loaded = [Path(file) for file in weights] or [bundle / "models" / name for name in WEIGHTS]
    files = dict(zip(WEIGHTS, loaded, strict=True))
    metadata = yaml.safe_load((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    missing = [file for file in loaded if not file.is_file()]
    if missing:
        names = ", ".join(file.name for file in missing)
        msg = f"{missing[0].parent} must hold {', '.join(WEIGHTS)}: {names} missing. "
        msg += "Train them with `spine-monai train`, or name a complete bundle with --bundle."
        raise ValueError(msg)
    return {
        "name": metadata.get("name", BUNDLE_NAME),
        "version": metadata["version"],
        "weights_sha256": {name: sha256_of_file(file) for name, file in files.items()},
        "config_sha256": sha256_of_file(bundle / "configs" / "inference.yaml"),
    }


def parse_config(bundle: Path, file: str, **values: Any) -> Any:
    """Read one of the bundle's workflow files and put the caller's values into it.

    The path of the bundle is made absolute: MONAI evaluates one that begins with ``$``.

    Args:
        bundle: folder of the bundle.
        file: name in ``configs``, such as ``inference.yaml``.
        **values: ids of the file and their new values.

    Returns:
        A MONAI ``ConfigParser``.

    Raises:
        ValueError: the file has no such id.
    """
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / file))
    parser.read_meta(str(bundle / "configs" / "metadata.json"))
    for name, value in ({"bundle_root": str(bundle.absolute())} | values).items():
        if name not in parser.get():
            msg = f"{file} must have the id {name!r} to override it: it has none."
            raise ValueError(msg)
        parser[name] = value
    return parser


def describe_config(config: Any) -> dict[str, Any]:
    """Describe the bundle of a parsed ``inference.yaml``, with the weights that it loads."""
    weights = [config.get_parsed_content(name) for name in WEIGHTS_IDS]
    return describe_bundle(Path(config["bundle_root"]), weights)
