"""Drawing targets against MONAI's ``GenerateHeatmap``: 11 x 512 x 512, one thread, side by side.

    make bench

Writes docs/benchmarks/heatmaps.json.
"""

import json
import os
import platform
import statistics
import time
from pathlib import Path

import pytest
import torch
from monai.transforms import GenerateHeatmap

from spine_monai.heatmaps import decode_heatmaps, encode_heatmaps

OUTPUT = Path(__file__).parents[2] / "docs" / "benchmarks" / "heatmaps.json"
SHAPE, COUNT, SIGMA_PX = (512, 512), 11, 1.2
REPEATS = 15


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def milliseconds(call, times=1):
    started = time.perf_counter()
    for _ in range(times):
        call()
    return 1000 * (time.perf_counter() - started) / times


def test_drawing_is_200_times_faster_than_monai(one_thread):
    generator = torch.Generator().manual_seed(0)
    points_ij = torch.rand(COUNT, 2, generator=generator, dtype=torch.float64) * 480 + 16
    points = points_ij.float()
    theirs = GenerateHeatmap(sigma=SIGMA_PX, spatial_shape=SHAPE)
    ours_ms, fresh_ms, theirs_ms = [], [], []
    buffer = torch.empty(COUNT, *SHAPE)
    for _ in range(REPEATS):
        ours_ms.append(
            milliseconds(lambda: encode_heatmaps(points, SHAPE, SIGMA_PX, out=buffer), times=20)
        )
        fresh_ms.append(milliseconds(lambda: encode_heatmaps(points, SHAPE, SIGMA_PX), times=20))
        theirs_ms.append(milliseconds(lambda: theirs(points)))
    error = (decode_heatmaps(encode_heatmaps(points_ij, SHAPE, SIGMA_PX)) - points_ij).abs().max()
    result = {
        "command": "make bench",
        "what": f"{COUNT} x {SHAPE[0]} x {SHAPE[1]}, sigma {SIGMA_PX} px, float32, one thread",
        "spine_monai_ms": round(statistics.median(ours_ms), 4),
        "spine_monai_fresh_memory_ms": round(statistics.median(fresh_ms), 4),
        "monai_generate_heatmap_ms": round(statistics.median(theirs_ms), 2),
        "ratio": round(statistics.median(theirs_ms) / statistics.median(ours_ms), 1),
        "ratio_fresh_memory": round(statistics.median(theirs_ms) / statistics.median(fresh_ms), 1),
        "encode_decode_max_error_px": float(error),
        "repeats": REPEATS,
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "load": [round(value, 2) for value in os.getloadavg()],
        "torch": torch.__version__,
        "threads": 1,
    }
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    assert result["ratio"] >= 200
    assert result["encode_decode_max_error_px"] < 1e-3
