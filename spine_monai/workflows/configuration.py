"""The workflow files of a bundle to be trained: those of another bundle, with values changed."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from spine_monai.files import write_text
from spine_monai.landmarks import REGISTRIES, load_registry
from spine_monai.workflows.arms import FUSION_FILE
from spine_monai.workflows.bundle import LANDMARK_SETS
from spine_monai.workflows.card import write_metadata
from spine_monai.workflows.checks import check_ids

NETWORKS = ("coordinates", "heatmap")  # in this order: coordinates place the heatmaps' windows
WORKFLOWS = (*(f"train_{network}.yaml" for network in NETWORKS), FUSION_FILE, "inference.yaml")
OF_ONE_RUN = ("bundle_root", "dataset_dir", "device", "num_workers", "output_dir")
COUNT = "num_landmarks"
COPIED = ("configs/logging.conf", "LICENSE")


def prepare_bundle(source: Path, target: Path, variant: str | Path | None = None) -> None:
    """Make a bundle without weights: the source's files, a variant's values merged into them.

    Raises:
        ValueError: there is no such variant, or no file has one of its ids.
    """
    Configuration(source, variant).write(target)


@dataclass(frozen=True)
class Configuration:
    """The workflow files of a bundle, and what a training changes in them.

    Args:
        source: the bundle.
        variant: name of one of its overlays, or a YAML file; its values go into the files.
        values: ids and their values for one training; they go into the files, too, but for those
            of its machine and folders.

    Raises:
        ValueError: there is no such variant, or no file has one of its ids or of the values'.
    """

    source: Path
    variant: str | Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_ids("values", self.values, _all_ids(self.texts.values()))

    @cached_property
    def texts(self) -> dict[str, str]:
        """Text of each workflow file, with the variant's values merged in."""
        texts = {n: (self.source / "configs" / n).read_text(encoding="utf-8") for n in WORKFLOWS}
        if not self.variant:
            return texts
        overlay = _read_variant(self.source, self.variant, texts.values())
        return {
            name: f"# {name} with the variant {self.variant}.\n" + _merged(text, overlay)
            for name, text in texts.items()
        }

    @property
    def digest(self) -> str:
        """One SHA-256 of what the workflow files say, comments and values aside."""
        content = {name: yaml.safe_load(text) for name, text in self.texts.items()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def landmarks(self) -> dict[str, Any]:
        """The landmark sets and ``num_landmarks``, worked out where they are expressions."""
        from monai.bundle import ConfigParser

        config = yaml.safe_load(_merged(self.texts["inference.yaml"], _plain(self.values)))
        parser = ConfigParser(config | {"bundle_root": str(self.source.absolute())})
        return {name: parser.get_parsed_content(name) for name in (*LANDMARK_SETS, COUNT)}

    @property
    def _lasting(self) -> dict[str, Any]:
        """The values that say what is trained, and so must be there when the networks are built."""
        values = {name: v for name, v in _plain(self.values).items() if name not in OF_ONE_RUN}
        sets = {name: f"$@bundle_root + '/configs/{name}.yaml'" for name in self._set_files}
        return values | sets

    @property
    def _set_files(self) -> dict[str, Path]:
        """The landmark sets that are files; the bundle gets copies, to be used anywhere."""
        sets = {name: self.landmarks[name] for name in LANDMARK_SETS}
        return {name: Path(own) for name, own in sets.items() if str(own) not in REGISTRIES}

    def write(self, target: Path) -> None:
        """Write the bundle's files, without weights, to a folder."""
        for name in COPIED:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.source / name, target / name)
        for name, file in self._set_files.items():
            write_text(target / "configs" / f"{name}.yaml", file.read_text(encoding="utf-8"))
        for name, text in self.texts.items():
            write_text(target / "configs" / name, _with_values(text, self._lasting))
        write_metadata(self.source, target, load_registry(self.landmarks["landmark_set"]))


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
    check_ids(file, overlay, _all_ids(texts))
    return overlay


def _all_ids(texts: Iterable[str]) -> set[str]:
    return {name for text in texts for name in yaml.safe_load(text)}


def _merged(text: str, overlay: Mapping[str, Any]) -> str:
    config = yaml.safe_load(text)
    known = {name: value for name, value in overlay.items() if name in config}
    return yaml.safe_dump(config | known, sort_keys=False)


def _with_values(text: str, values: Mapping[str, Any]) -> str:
    """A workflow file with values in it, under its own header; as it is where it has none."""
    if not values.keys() & yaml.safe_load(text).keys():
        return text
    header = takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True))
    return "".join(header) + _merged(text, values)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON has them: YAML cannot hold paths, arrays or tensors."""

    def plain_one(value: Any) -> Any:
        return value.tolist() if hasattr(value, "tolist") else str(value)

    plain: dict[str, Any] = json.loads(json.dumps(dict(values), default=plain_one))
    return plain
