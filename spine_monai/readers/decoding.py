"""Decoders of other people's making, run in a process of their own.

Compressed frames, and all that SimpleITK reads, go through one ``decoder_worker`` process. It is
started when it is first needed, shared by all threads, started again after a crash, and ends with
this one. A decoder that dies, runs in circles or asks for too much memory costs one file its
result, never the run.
"""

import atexit
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

WORKER_FILE = Path(__file__).with_name("decoder_worker.py")
# As many voxels as 1 GiB of float32 holds, eight times a large 3-D spine scan.
MAX_VOXELS = 1 << 28
MEMORY_BYTES = 2 << 30
START_SECONDS = 120.0
# Decoders need 0.1 s for a million pixels; this is what a file may take of the processor ...
BASE_SECONDS = 2.0
SECONDS_PER_MILLION_PIXELS = 2.0
BYTES_PER_SECOND = 50e6
# ... and of the clock, so that a busy machine or a slow disk is no reason to give up.
PATIENCE = 10.0
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
ONE_THREAD = dict.fromkeys(THREADS, "1")


class DecodingError(Exception):
    """The worker gave no pixels; the text says why, and goes on after "must ...: "."""


def decode_frame(description: dict[str, Any], data: bytes) -> NDArray[Any]:
    """Decode one compressed frame of a DICOM file to its stored values.

    Args:
        description: the transfer syntax as ``syntax``, and as ``attributes`` Rows, Columns,
            BitsAllocated and what else decoders need, by keyword.
        data: the encoded frame.

    Returns:
        (rows, columns) whole numbers, not rescaled.

    Raises:
        DecodingError: no decoder can, it died, or took too long.
    """
    rows, columns = (description["attributes"][key] for key in ("Rows", "Columns"))
    seconds = BASE_SECONDS + SECONDS_PER_MILLION_PIXELS * rows * columns / 1e6
    request = {"task": "frame", "seconds": seconds, **description}
    return WORKER.ask(request, data)[1]


def read_image(path: Path, dimensions: tuple[int, ...]) -> tuple[dict[str, Any], NDArray[Any]]:
    """Read a volume or picture file with SimpleITK.

    Args:
        path: an MHA, MHD, NRRD, PNG or JPEG file.
        dimensions: the numbers of dimensions that are wanted.

    Returns:
        What ITK says of it: ``size``, ``components``, ``origin``, ``direction``, ``spacing``,
        ``value_bytes``; and its values (slices, rows, columns[, components]).

    Raises:
        DecodingError: it is damaged, too large, of another kind, or the reader died over it.
    """
    seconds = BASE_SECONDS + path.stat().st_size / BYTES_PER_SECOND
    request = {"task": "image", "seconds": seconds, "path": str(path.absolute())}
    return WORKER.ask(request | {"dimensions": dimensions, "max_voxels": MAX_VOXELS})


class DecoderProcess:
    """One worker process, started on demand; its requests wait for each other."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = ""

    def ask(
        self, request: dict[str, Any], data: bytes = b""
    ) -> tuple[dict[str, Any], NDArray[Any]]:
        """Send a request and wait for the reply and its array.

        Raises:
            DecodingError: the worker refused, failed, died or took too long.
        """
        seconds = PATIENCE * request["seconds"]
        with self.lock:
            process = self._running()
            try:
                reply, array = _within(seconds, process, request | {"bytes": len(data)}, data)
            except (OSError, EOFError, ValueError):  # the pipe broke
                reply, array = {"died": self._stop()}, np.empty(0)
            except BaseException:  # interrupted: a late reply must not answer the next request
                self._stop()
                raise
        if reason := _why_none(reply, seconds):
            raise DecodingError(reason)
        return reply, array

    def close(self) -> None:
        """End the worker; the next request starts another."""
        with self.lock:
            self._stop()

    def forget(self) -> None:
        """Leave the worker to the parent process, after a fork."""
        if self.process:
            self.process.returncode = 0  # it is no child of this process
        self.lock, self.process, self.folder = threading.Lock(), None, ""

    def _running(self) -> subprocess.Popen[bytes]:
        """The worker, started if there is none."""
        if self.process and self.process.poll() is None:
            return self.process
        self._stop()
        _end_with_this_process()
        self.folder = tempfile.mkdtemp(prefix="spine_monai-")
        self.process = _start(self.folder)
        try:
            _within(START_SECONDS, self.process)
        except (OSError, EOFError, ValueError) as error:
            msg = f"the decoder process must start: it ended with code {self._stop()}. "
            msg += f"Run `{sys.executable} {WORKER_FILE} {MEMORY_BYTES} .` to see why."
            raise RuntimeError(msg) from error
        except BaseException:
            self._stop()
            raise
        return self.process

    def _stop(self) -> int:
        """End the worker and return its exit code; a negative one is the signal that ended it."""
        code = _end(self.process) if self.process else 0
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.process, self.folder = None, ""
        return code


def _start(folder: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", str(WORKER_FILE), str(MEMORY_BYTES), folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | ONE_THREAD,
    )


@functools.cache
def _end_with_this_process() -> None:
    atexit.register(WORKER.close)
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=WORKER.forget)


def _within(
    seconds: float,
    process: subprocess.Popen[bytes],
    request: dict[str, Any] | None = None,
    data: bytes = b"",
) -> tuple[dict[str, Any], NDArray[Any]]:
    """Send a request, if any, and read a reply; the worker is killed when time is over."""
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        if request:
            _pipe(process.stdin).write(json.dumps(request).encode() + b"\n")
            _pipe(process.stdin).write(data)
            _pipe(process.stdin).flush()
        return _receive(cast(BufferedReader, process.stdout))
    finally:
        timer.cancel()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        msg = "the worker must have pipes"
        raise ValueError(msg)
    return stream


def _receive(replies: BufferedReader) -> tuple[dict[str, Any], NDArray[Any]]:
    reply = json.loads(replies.readline())  # an empty line is no JSON: ValueError
    array = np.empty(reply.get("shape", 0), dtype=reply.get("dtype", "u1"))
    if array.nbytes != reply["bytes"]:
        msg = f"the reply must hold {array.nbytes} bytes: got {reply['bytes']}"
        raise ValueError(msg)
    if array.nbytes and replies.readinto(array.reshape(-1).view("u1").data) != array.nbytes:
        raise EOFError
    return reply, array


def _end(process: subprocess.Popen[bytes]) -> int:
    for stream in (process.stdin, process.stdout):
        try:
            _pipe(stream).close()
        except OSError:  # what could not be flushed is lost anyway
            continue
    try:
        return process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _why_none(reply: dict[str, Any], seconds: float) -> str:
    """Why a reply holds no pixels, in words; empty where it does."""
    if "refused" in reply:
        return str(reply["refused"])
    if "failed" in reply:
        return f"the decoder stopped ({reply['failed']})"
    if "died" not in reply:
        return ""
    if -reply["died"] == getattr(signal, "SIGPROF", None):
        return "the decoder took too much processor time"
    if -reply["died"] == getattr(signal, "SIGKILL", None):
        return f"the decoder took more than {seconds:.0f} s or was killed"
    return f"the decoder crashed (exit code {reply['died']})"


WORKER = DecoderProcess()
