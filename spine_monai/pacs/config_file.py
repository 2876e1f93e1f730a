"""``pacs.yaml`` read and checked as a whole, before anything is done."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from spine_monai.pacs.config import PacsConfig

PATH_KEYS = {"certificate", "key", "authority", "file", "folder", "bundle"}


def read_config(path: Path) -> PacsConfig:
    """Read and check the file; paths in it are relative to it.

    Args:
        path: a YAML file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no YAML, or keys are unknown, missing or wrong; the message names each.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        msg = f"{path} must be YAML" + (f": see line {place.line + 1}." if place else ".")
        raise ValueError(msg) from None
    if not isinstance(content, dict):
        msg = f"{path} must hold keys such as `node` and `remotes`: got {type(content).__name__}."
        raise ValueError(msg)
    try:
        return PacsConfig.model_validate(_with_whole_paths(content, path.resolve().parent))
    except ValidationError as error:
        lines = [f"  {_place(entry['loc'])}: {_reason(entry)}" for entry in error.errors()]
        msg = "\n".join([f"{path} must be a valid configuration:", *lines])
        raise ValueError(msg) from None


def part_of(config: PacsConfig, name: str, path: Path) -> Any:
    """Return a part that a command needs.

    Raises:
        ValueError: the file does not have it.
    """
    part = getattr(config, name)
    if part is None:
        msg = (
            f"{path} must have the part `{name}` for this command; see docs/reference/pacs-yaml.md."
        )
        raise ValueError(msg)
    return part


def _with_whole_paths(value: Any, folder: Path) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        key: str(folder / entry)
        if key in PATH_KEYS and isinstance(entry, str)
        else _with_whole_paths(entry, folder)
        for key, entry in value.items()
    }


def _place(keys: tuple[int | str, ...]) -> str:
    return ".".join(map(str, keys)) or "the whole"


def _reason(entry: Any) -> str:
    """What is wrong, without the value: it may be a secret that stands in the wrong place."""
    if entry["type"] == "extra_forbidden":
        return "unknown key"
    if entry["type"] == "missing":
        return "missing"
    return str(entry["msg"]).removeprefix("Value error, ")
