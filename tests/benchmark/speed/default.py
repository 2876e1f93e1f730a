"""The shipped default, from DICOM folder to files: warm, cold, and how much memory it takes."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor

from speed.timing import goal, milliseconds
from spine_monai.landmarks import LUMBAR11
from spine_monai.networks import save_weights
from spine_monai.networks.weights import read_state
from spine_monai.workflows.bundle import find_bundle
from spine_monai.workflows.cases import network_items
from spine_monai.workflows.configuration import prepare_bundle
from spine_monai.workflows.localizer import localizer_from_bundle

FORMATS = ("json", "csv", "markups", "overlay")
WARM_REPEATS, COLD_REPEATS = 15, 5
MIDDLE = 2  # of the demo study's five slices
LOCALIZE = """
import json, resource, sys
from spine_monai.cli import main
code = main(sys.argv[2:])
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
content = {"modules": sorted(set(sys.modules) - {"__main__"}), "peak_mb": peak_mb}
open(sys.argv[1], "w").write(json.dumps(content))
sys.exit(code)
"""
IMPORT = """
import importlib, json, sys
for name in json.load(open(sys.argv[1]))["modules"]:
    try:
        importlib.import_module(name)
    except Exception:
        pass
"""
PARTS_OF_COLD = ("numpy", "torch", "ignite.engine", "monai", "monai.engines", "monai.bundle")


def measure() -> dict[str, Any]:
    """Return the figures of the bundled study."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        one, five = warm_ms(work / "one", slice_index=MIDDLE), warm_ms(work / "five")
        cold = cold_s(work / "cold")
        default_mb = memory_mb(work, find_bundle(), "default")
        paper_mb = memory_mb(work, paper_bundle(work / "paper_bundle"), "paper")
    beyond_s = cold["whole_s"] - cold["imports_s"]
    rows = [
        {"what": "warm, one slice, with overlay", "ms": one},
        {"what": "warm, five slices, with overlay", "ms": five},
        {"what": "whole process, cold", "ms": 1000 * cold["whole_s"]},
        {"what": "bare import of its modules", "ms": 1000 * cold["imports_s"]},
        *({"what": f"of which `import {n}`", "ms": 1000 * s} for n, s in imports_s().items()),
        {"what": "peak memory, default", "MB": default_mb},
        {"what": "peak memory, `paper`", "MB": paper_mb},
    ]
    goals = [
        goal("a study, warm, one slice, with overlay", one / 1000, "<", 0.6, "s"),
        goal("a study, warm, five slices, with overlay", five / 1000, "<", 0.6, "s"),
        goal("whole process, beyond the bare imports", beyond_s, "<=", 2.0, "s"),
        goal("peak memory, default", default_mb / 1000, "<", 1.5, "GB"),
        goal("peak memory, paper", paper_mb / 1000, "<", 3.0, "GB"),
    ]
    return {"title": "The shipped default, from folder to files", "rows": rows, "goals": goals}


def sample() -> Path:
    """Return the bundled study."""
    return next(path for path in (find_bundle() / "sample").iterdir() if path.is_dir())


def warm_ms(out: Path, **values: Any) -> float:
    """Return the median time of a study once the networks are loaded, locating it included."""
    localizer = localizer_from_bundle(find_bundle(), out, formats=FORMATS, overwrite=True, **values)
    slices = {name: values[name] for name in ("slice_index",) if name in values}

    def study() -> None:
        report = localizer.run(network_items([sample()], **slices)[0])
        if report.status != "done":
            raise RuntimeError(report.reason)

    study()
    return statistics.median(milliseconds(study) for _ in range(WARM_REPEATS))


def cold_s(work: Path) -> dict[str, float]:
    """Return the medians of the whole process and of the bare imports, in turns."""
    work.mkdir()
    command = localize_command(work, find_bundle())
    times: dict[str, list[float]] = {"whole_s": [], "imports_s": []}
    for _ in range(COLD_REPEATS):
        times["whole_s"].append(seconds(LOCALIZE, command))
        times["imports_s"].append(seconds(IMPORT, command[:1]))
    return {name: statistics.median(values) for name, values in times.items()}


def imports_s() -> dict[str, float]:
    """Return how long fresh processes take that import one package, less an empty one's time."""
    empty = seconds("pass", [])
    codes = {name: f"import {name}" for name in PARTS_OF_COLD}
    times = {n: [seconds(code, []) for _ in range(3)] for n, code in codes.items()}
    return {name: statistics.median(values) - empty for name, values in times.items()}


def memory_mb(work: Path, bundle: Path, name: str) -> float:
    """Return the most memory that a whole run holds."""
    folder = work / name
    folder.mkdir()
    command = localize_command(folder, bundle)
    seconds(LOCALIZE, command)
    peak: float = json.loads(Path(command[0]).read_text())["peak_mb"]
    return peak


def localize_command(work: Path, bundle: Path) -> list[str]:
    """Return the arguments of a run on the bundled study, what it says of itself first."""
    options = ["--out", str(work / "results"), "--formats", ",".join(FORMATS), "--overwrite"]
    about = str(work / "about.json")
    return [about, "localize", str(sample()), *options, "--bundle", str(bundle)]


def seconds(code: str, arguments: Sequence[str]) -> float:
    """Return how long a fresh process takes."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def paper_bundle(folder: Path) -> Path:
    """Make a bundle of the paper's full-size networks, with weights by chance."""
    prepare_bundle(find_bundle(), folder, variant="paper")
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.yaml"))
    networks = {"model.pt": "network_def", "model_coordinates.pt": "coordinates_network_def"}
    for name, key in networks.items():
        save_weights(parser.get_parsed_content(key), folder / "models" / name)
    torch.save(lowest_landmarks(len(LUMBAR11)), folder / "models" / "fusion.pt")
    return folder


def lowest_landmarks(count: int) -> dict[str, Tensor]:
    """Return what the shipped fusion knows of the lowest landmarks."""
    state = read_state(find_bundle() / "models" / "fusion.pt")
    kept = {"fusion.prior_sigma_mm": count, "chain.chain_mean_mm": count - 1}
    kept["chain.chain_cov_mm2"] = count - 1
    return {name: value[-kept[name] :] if name in kept else value for name, value in state.items()}
