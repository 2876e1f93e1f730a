"""Measure the speed of everything, one process a part; write the figures and their page.

    make bench-speed [PARTS="decoding exported"]

Writes docs/benchmarks/speed.json and speed.md, or the same files in another folder (``--out``).
Parts that are not named, and that of the GPU where there is none, keep their figures, each with the
circumstances it was measured in.
"""

import argparse
import importlib
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from speed.page import page
from spine_monai.workflows.stages import circumstances

HOME = Path(__file__).parents[3] / "docs" / "benchmarks"
PARTS = (
    "forward",
    "precision",
    "decoding",
    "training",
    "default",
    "peers",
    "exported",
    "growth",
    "gpu",
)
THREADS = 2


def main() -> None:
    """Measure the named parts, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=HOME, help="folder of speed.json and speed.md")
    asked = parser.parse_args()
    write(measure_all(possible(asked.parts)), asked.out)


def possible(names: Sequence[str]) -> list[str]:
    """Return the parts that can be measured here."""
    if "gpu" in names and not torch.cuda.is_available():
        print("gpu: skipped, for there is no CUDA device here; its figures stay as they are")
        return [name for name in names if name != "gpu"]
    return list(names)


def write(parts: dict[str, Any], folder: Path) -> None:
    """Write the figures and their page; other parts keep those of the folder, or of the docs."""
    figures = folder / "speed.json"
    former = figures if figures.is_file() else HOME / "speed.json"
    known = json.loads(former.read_text())["parts"] if former.is_file() else {}
    merged = {name: part for name in PARTS if (part := (known | parts).get(name))}
    content = {"command": "make bench-speed", "parts": merged}
    folder.mkdir(parents=True, exist_ok=True)
    figures.write_text(json.dumps(content, indent=1) + "\n")
    figures.with_suffix(".md").write_text(page(merged))
    print(f"figures in {figures}")


def measure_all(names: Sequence[str]) -> dict[str, Any]:
    """Return the figures of parts, each measured in a fresh process, which may have others."""
    context = multiprocessing.get_context("spawn")
    parts = {}
    for name in names:
        started = time.perf_counter()
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            parts[name] = pool.submit(measure, name).result()
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
        for one in parts[name].get("goals", []):
            print(f"  {'met   ' if one['is_met'] else 'MISSED'} {json.dumps(one)}", flush=True)
    return parts


def measure(name: str) -> dict[str, Any]:
    """Return the figures of one part with the circumstances."""
    torch.set_num_threads(THREADS)
    figures: dict[str, Any] = importlib.import_module(f"speed.{name}").measure()
    about = circumstances(f"make bench-speed PARTS={name}", [])
    kept = ("command", "machine", "threads", "load", "software")
    return figures | {key: about[key] for key in kept} | {"processor": processor()}


def processor() -> dict[str, Any]:
    """Return what of the processor decides the speed."""
    return {
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "has_bfloat16": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
