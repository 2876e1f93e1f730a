"""Where the bundle is, what it holds, and its configuration with the caller's values in it."""

import os
import sys
from pathlib import Path
from typing import Any

import yaml

import spine_monai
from spine_monai.files import sha256_of_file

BUNDLE_NAME = "spine_landmarks"
BUNDLE_VARIABLE = "SPINE_MONAI_BUNDLE"
WEIGHTS = ("model.pt", "model_coordinates.pt", "fusion.pt")


def find_bundle(bundle: str | Path | None = None) -> Path:
    """Return the bundle's folder: the given one, else the environment's, else the shipped one.

    Args:
        bundle: folder, or ``None`` for ``$SPINE_MONAI_BUNDLE``, then the checkout's bundle, then
            the installed one.

    Raises:
        ValueError: the folder is no bundle.
    """
    from spine_monai.workflows.checks import check_bundle_root

    given = bundle or os.environ.get(BUNDLE_VARIABLE)
    if given:
        return check_bundle_root(given)
    checkout = Path(spine_monai.__file__).parents[1] / "bundles" / BUNDLE_NAME
    installed = Path(sys.prefix) / "share" / "spine_monai" / "bundles" / BUNDLE_NAME
    return check_bundle_root(checkout if checkout.is_dir() else installed)


def describe_bundle(bundle: Path) -> dict[str, Any]:
    """Return name, version and digests: what tells one bundle's results from another's.

    Raises:
        ValueError: a weights file is missing.
    """
    metadata = yaml.safe_load((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    missing = [name for name in WEIGHTS if not (bundle / "models" / name).is_file()]
    if missing:
        msg = f"{bundle / 'models'} must hold {', '.join(WEIGHTS)}: {', '.join(missing)} missing. "
        msg += "Train them with `spine-monai train`, or name a complete bundle with --bundle."
        raise ValueError(msg)
    return {
        "name": metadata.get("name", BUNDLE_NAME),
        "version": metadata["version"],
        "weights_sha256": {n: sha256_of_file(bundle / "models" / n) for n in WEIGHTS},
        "config_sha256": sha256_of_file(bundle / "configs" / "inference.yaml"),
    }


def parse_config(bundle: Path, file: str, **values: Any) -> Any:
    """Read one of the bundle's workflow files and put the caller's values into it.

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
    for name, value in ({"bundle_root": str(bundle)} | values).items():
        if name not in parser.get():
            msg = f"{file} must have the id {name!r} to override it: it has none."
            raise ValueError(msg)
        parser[name] = value
    return parser
