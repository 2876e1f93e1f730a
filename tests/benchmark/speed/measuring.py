"""Measure the speed of everything, one process a part; write the figures and their page.

    make bench-speed [PARTS="decoding exported"]

Writes docs/benchmarks/speed.json and speed.md. Parts that are not named keep their figures, each
with the circumstances it was measured in.
"""

import argparse
import importlib
import json
import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from speed.page import page
from spine_monai.workflows.stages import circumstances

FIGURES = Path(__file__).parents[3] / "docs" / "benchmarks" / "speed.json"
PARTS = (
    "forward",
    "precision",
    "decoding",
    "training",
    "default",
    "peers",
    "exported",
    "growth",
)
THREADS = 2


def main() -> None:
    """Measure the named parts, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parts = measure_all(parser.parse_args().parts)
    known = json.loads(FIGURES.read_text())["parts"] if FIGURES.is_file() else {}
    merged = {name: part for name in PARTS if (part := (known | parts).get(name))}
    content = {"command": "make bench-speed", "parts": merged}
    FIGURES.write_text(json.dumps(content, indent=1) + "\n")
    FIGURES.with_suffix(".md").write_text(page(merged))
    print(f"figures in {FIGURES}")


def measure_all(names: Sequence[str]) -> dict[str, Any]:
    """Return the figures of parts, each measured in a fresh process."""
    context = multiprocessing.get_context("spawn")
    parts = {}
    for name in names:
        started = time.perf_counter()
        with context.Pool(1, maxtasksperchild=1) as pool:
            parts[name] = pool.apply(measure, (name,))
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
