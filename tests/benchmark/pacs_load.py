"""Load on the node: studies from several senders at once, beside an SCP that only writes.

Both are processes of their own that get the same files from the same senders, one after the other
in one run: `pacs serve` with its checks, syncs and ledger, and a bare pynetdicom SCP that
writes what comes. Rounds alternate, and the rate of each is that of its best round.

    make bench-pacs
"""

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pydicom
from pacs_servers import free_port
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, _config

from spine_monai import __version__
from spine_monai.data import dicom as writing

TARGET = 0.70
BARE = """
import sys
from pathlib import Path
from pynetdicom import AE, evt
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
folder = Path(sys.argv[1])
def store(event):
    name = f"{event.request.AffectedSOPInstanceUID}.dcm"
    (folder / name).write_bytes(event.encoded_dataset())
    return 0
entity = AE("SPINE")
entity.maximum_pdu_size = int(sys.argv[3])
entity.add_supported_context(MRImageStorage, ExplicitVRLittleEndian)
entity.start_server(("127.0.0.1", int(sys.argv[2])), evt_handlers=[(evt.EVT_C_STORE, store)])
"""
OURS = """
import sys
from pathlib import Path
from spine_monai.pacs.config import Node, PacsConfig, Serve
from spine_monai.pacs.node.log import set_up_log
from spine_monai.pacs.node.serving import serve
node = Node(port=int(sys.argv[2]), allowed_calling_aets=("SENDER",))
settings = Serve(folder=Path(sys.argv[1]), quiet_s=3600, min_free_mb=1)
set_up_log()
serve(PacsConfig(node=node, serve=settings), settings)
"""
PDU_BYTES = 1 << 17  # as our node announces


def main():
    options = read_options()
    folder = Path(tempfile.mkdtemp(prefix="pacs-load-", dir=options.scratch))
    try:
        files = write_studies(folder / "studies", options)
        result = measure(folder, files, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if result["ratio"] >= TARGET and result["memory_is_flat"] else 1


def read_options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--slices", type=int, default=15)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1, help="of each receiver")
    parser.add_argument("--rows", type=int, default=448)
    parser.add_argument("--columns", type=int, default=384)
    parser.add_argument("--scratch", type=Path, help="folder on the disk to be measured")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def write_studies(folder, options):
    """One list of files a study; the pixels are the same in all of them, the UIDs are not."""
    shape = (options.rows, options.columns, options.slices)
    pixels = np.random.default_rng(0).integers(0, 4096, shape)
    return [
        writing.write_dicom_series(pixels, np.eye(4), folder / str(number), seed=f"load {number}")
        for number in range(options.studies)
    ]


def measure(folder, files, options):
    rates = {"ours": [], "bare": []}
    memory = []
    for number in range(options.rounds):
        for name in ("bare", "ours"):
            place = folder / f"{name}-{number}"
            place.mkdir(mode=0o700)
            rate, samples = one_round(name, place, files, options)
            rates[name].append(rate)
            if name == "ours":
                memory.append(samples)
            shutil.rmtree(place)
    best = {name: max(values) for name, values in rates.items()}
    growth = max(growth_of(samples) for samples in memory)
    return {
        "what": "objects that a node receives in a second",
        "software": {"spine_monai": __version__, "python": platform.python_version()},
        "machine": {"processors": os.cpu_count(), "load": os.getloadavg()},
        "command": "make bench-pacs",
        "studies": options.studies,
        "objects": options.studies * options.slices,
        "object_kb": round(files[0][0].stat().st_size / 1e3),
        "senders": options.senders,
        "objects_per_s": {name: [round(one, 1) for one in all_] for name, all_ in rates.items()},
        "ratio": round(best["ours"] / best["bare"], 3),
        "target_ratio": TARGET,
        "memory_mb": [[round(one) for one in thin(samples)] for samples in memory],
        "memory_growth_mb": round(growth, 1),
        "memory_is_flat": bool(growth < 64),
        "accuracy": "all stored and answered; each file's pixels are those that were sent",
    }


def one_round(name, place, files, options):
    port = free_port()
    program = OURS if name == "ours" else BARE
    with (place.parent / f"{name}.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(place), str(port), str(PDU_BYTES)],
            stdout=log,
            stderr=log,
        )
    try:
        wait_for_port(port, process)
        time.sleep(15 if name == "ours" else 0)  # its worker loads the networks meanwhile
        samples, stop = [], threading.Event()
        watcher = threading.Thread(target=watch_memory, args=(process.pid, samples, stop))
        watcher.start()
        started = time.perf_counter()
        send_all(files, port, options.senders)
        seconds = time.perf_counter() - started
        stop.set()
        watcher.join()
        check(place, files)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return sum(map(len, files)) / seconds, samples


def send_all(files, port, senders):
    """Let each sender, a process of its own, send its share; a study on one association."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(senders) as pool:
        shares = [(files[number::senders], port) for number in range(senders)]
        assert sum(pool.starmap(send_share, shares)) == sum(map(len, files))


def send_share(studies, port):
    _config.STORE_SEND_CHUNKED_DATASET = True
    done = 0
    for files in studies:
        entity = AE("SENDER")
        entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", port, ae_title="SPINE")
        assert association.is_established
        for file in files:
            done += association.send_c_store(file).Status == 0
        association.release()
    return done


def wait_for_port(port, process):
    entity = AE("SENDER")
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    for _ in range(600):
        assert process.poll() is None, "the receiver has ended"
        association = entity.associate("127.0.0.1", port, ae_title="SPINE")
        if association.is_established:
            association.release()
            return
        time.sleep(0.1)
    raise AssertionError("the receiver does not answer")


def watch_memory(process, samples, stop):
    """Resident memory in MB, twice a second."""
    while not stop.is_set():
        fields = Path(f"/proc/{process}/statm").read_text().split()
        samples.append(int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)
        stop.wait(0.5)


def growth_of(samples):
    """Median of the last quarter less that of the second: the first one fills caches."""
    quarter = max(1, len(samples) // 4)
    return statistics.median(samples[-quarter:]) - statistics.median(samples[quarter : 2 * quarter])


def thin(samples, count=20):
    return samples[:: max(1, len(samples) // count)]


def check(place, files):
    """Each object is there, with the pixels that were sent."""
    stored = {path.name: path for path in place.rglob("*.dcm")}
    assert len(stored) == sum(map(len, files))
    for file in files[0]:
        sent = pydicom.dcmread(file)
        assert pydicom.dcmread(stored[f"{sent.SOPInstanceUID}.dcm"]).PixelData == sent.PixelData


if __name__ == "__main__":
    sys.exit(main())
