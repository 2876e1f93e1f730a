"""The package's layers: a module imports only from lower ones, or from the left in its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "spine_monai"
LAYERS = [
    ["files", "landmarks", "geometry"],
    [
        *("heatmaps", "numerical", "adaptive", "canvas", "fusion"),
        *("candidates", "chain", "joint", "locator"),
        *("slices", "metrics", "networks"),
    ],
    ["readers", "writers", "viz", "transforms"],
    ["data", "workflows", "deidentify"],
    ["pacs", "cli"],
]
STAND_ALONE = {"metrics", "networks"}
READS_BUNDLES = {"workflows"}
RANK = {name: (level, place) for level, row in enumerate(LAYERS) for place, name in enumerate(row)}
FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def imported_modules(path: Path) -> Iterator[str]:
    """Top-level modules of our package that a file imports; ruff bans relative imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("spine_monai."))


def owner(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def may_import(own: str, other: str) -> bool:
    if other in (own, "__version__"):
        return True
    is_below = RANK[other] < RANK[own]
    is_beside = RANK[other][0] == RANK[own][0]
    return is_below and not (is_beside and own in STAND_ALONE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_lower_layers(path):
    own = owner(path)
    assert own in RANK, f"{own} has no layer: add it to LAYERS"
    wrong = sorted({name for name in imported_modules(path) if not may_import(own, name)})
    assert not wrong, f"{own} must not import {wrong}"


def test_an_upward_and_a_sideways_import_are_wrong():
    assert not may_import("geometry", "heatmaps")
    assert not may_import("writers", "viz")
    assert not may_import("networks", "heatmaps")
    assert may_import("viz", "writers")
    assert may_import("cli", "workflows")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_workflows_parse_bundles(path):
    text = path.read_text()
    if owner(path) not in READS_BUNDLES:
        assert "monai.bundle import" not in text
        assert "ConfigParser" not in text
