"""The workflow files of a bundle to be trained: those of another bundle, with values changed."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from spine_monai.files import write_text
from spine_monai.workflows.arms import FUSION_FILE
from spine_monai.workflows.card import write_metadata
from spine_monai.workflows.checks import check_ids

NETWORKS = ("coordinates", "heatmap")  # in this order: coordinates place the heatmaps' windows
WORKFLOWS = (*(f"train_{network}.yaml" for network in NETWORKS), FUSION_FILE, "inference.yaml")
COPIED = ("configs/logging.conf", "LICENSE")


def prepare_bundle(source: Path, target: Path, variant: str | Path | None = None) -> None:
    """Make a bundle without weights: the source's files, a variant's values merged into them.

    Raises:
        ValueError: there is no such variant, or no file has one of its ids.
    """
    for name in COPIED:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    for name, text in workflow_texts(source, variant).items():
        write_text(target / "configs" / name, text)
    write_metadata(source, target)


def workflow_texts(source: Path, variant: str | Path | None) -> dict[str, str]:
    """Return the text of each workflow file, with a variant's values merged in.

    Raises:
        ValueError: there is no such variant, or no file has one of its ids.
    """
    texts = {n: (source / "configs" / n).read_text(encoding="utf-8") for n in WORKFLOWS}
    if not variant:
        return texts
    overlay = _read_variant(source, variant, texts.values())
    return {
        name: f"# {name} with the variant {variant}.\n" + _merged(text, overlay)
        for name, text in texts.items()
    }


def digest_of(texts: Mapping[str, str]) -> str:
    """Return one SHA-256 of what the workflow files say, comments aside."""
    values = {name: yaml.safe_load(text) for name, text in texts.items()}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def all_ids(texts: Iterable[str]) -> dict[str, Any]:
    """Return the ids of all workflow files, each with one file's value."""
    return {name: value for text in texts for name, value in yaml.safe_load(text).items()}


def _read_variant(source: Path, variant: str | Path, texts: Iterable[str]) -> dict[str, Any]:
    shipped = source / "configs" / "variants" / f"{variant}.yaml"
    file = shipped if shipped.is_file() else Path(variant)
    if not file.is_file():
        names = sorted(path.stem for path in shipped.parent.glob("*.yaml"))
        msg = f"variant must be one of {names} or a YAML file: got {variant}."
        raise ValueError(msg)
    try:
        overlay = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        msg = f"{file} must be a YAML file: {error}."
        raise ValueError(msg) from error
    if not isinstance(overlay, dict):
        msg = f"{file} must hold ids and their values: got {overlay or 'nothing'}."
        raise ValueError(msg)
    check_ids(file, overlay, all_ids(texts))
    return overlay


def _merged(text: str, overlay: Mapping[str, Any]) -> str:
    config = yaml.safe_load(text)
    known = {name: value for name, value in overlay.items() if name in config}
    return yaml.safe_dump(config | known, sort_keys=False)
