"""The decoder process: what its death, its silence and its limits cost."""

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from spine_monai.readers import decoding
from spine_monai.readers.decoding import DecoderProcess, DecodingError, decode_frame, read_image
from spine_monai.readers.pixels import FRAME_KEYWORDS

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs signals")


@pytest.fixture(scope="module")
def request_of_a_frame():
    dataset = pydicom.dcmread(get_testdata_file("MR_small_RLE.dcm"))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    attributes = {key: dataset[key].value for key in FRAME_KEYWORDS}
    return {"syntax": str(dataset.file_meta.TransferSyntaxUID), "attributes": attributes}, frame


@pytest.fixture(scope="module")
def pixels():
    return pydicom.dcmread(get_testdata_file("MR_small.dcm")).pixel_array


@pytest.fixture
def worker(monkeypatch):
    """A process of the test's own, in place of the shared one."""
    own = DecoderProcess()
    monkeypatch.setattr(decoding, "WORKER", own)
    yield own
    own.close()


def pid_of(worker):
    return worker.process.pid


def test_a_frame_comes_back_whole_and_writable(request_of_a_frame, pixels):
    array = decode_frame(*request_of_a_frame)
    np.testing.assert_array_equal(array, pixels)
    assert array.flags.writeable


def test_the_process_lives_from_request_to_request(worker, request_of_a_frame):
    decode_frame(*request_of_a_frame)
    first = pid_of(worker)
    decode_frame(*request_of_a_frame)
    assert pid_of(worker) == first != os.getpid()


def test_threads_wait_for_each_other(request_of_a_frame, pixels):
    description, frame = request_of_a_frame
    with ThreadPoolExecutor(8) as pool:
        arrays = list(pool.map(lambda _: decode_frame(description, frame), range(24)))
    for array in arrays:
        np.testing.assert_array_equal(array, pixels)


def test_a_refused_frame_costs_only_itself(worker, request_of_a_frame, pixels):
    description, frame = request_of_a_frame
    with pytest.raises(DecodingError, match=r"the decoder stopped .RuntimeError"):
        decode_frame(description, frame[:200])
    np.testing.assert_array_equal(decode_frame(description, frame), pixels)


@POSIX
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT"])
def test_a_crash_costs_one_frame_and_the_next_one_has_a_new_process(
    worker, request_of_a_frame, pixels, name
):
    decode_frame(*request_of_a_frame)
    crashed = pid_of(worker)
    os.kill(crashed, signal.SIGSTOP)  # so that it cannot answer before it dies
    threading.Timer(0.1, lambda: crash(crashed, getattr(signal, name))).start()
    with pytest.raises(DecodingError, match=rf"crashed \(exit code -{int(getattr(signal, name))}"):
        decode_frame(*request_of_a_frame)
    np.testing.assert_array_equal(decode_frame(*request_of_a_frame), pixels)
    assert pid_of(worker) != crashed


def crash(pid, number):
    os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)


@POSIX
def test_a_process_that_died_between_two_requests_is_replaced(worker, request_of_a_frame, pixels):
    decode_frame(*request_of_a_frame)
    os.kill(pid_of(worker), signal.SIGKILL)
    worker.process.wait()
    np.testing.assert_array_equal(decode_frame(*request_of_a_frame), pixels)


@POSIX
def test_a_decoder_that_hangs_is_ended(worker, request_of_a_frame, pixels, monkeypatch):
    decode_frame(*request_of_a_frame)
    os.kill(pid_of(worker), signal.SIGSTOP)
    monkeypatch.setattr(decoding, "PATIENCE", 0.1)
    with pytest.raises(DecodingError, match="took more than 0 s or was killed"):
        decode_frame(*request_of_a_frame)
    monkeypatch.undo()
    np.testing.assert_array_equal(worker.ask(*as_asked(request_of_a_frame))[1], pixels)


def as_asked(request_of_a_frame):
    description, frame = request_of_a_frame
    return {"task": "frame", "seconds": 3.0, **description}, frame


@POSIX
def test_a_decoder_that_computes_for_too_long_is_ended(worker, request_of_a_frame, monkeypatch):
    """The JPEG-LS plug-in computes for 8 s over half a frame."""
    pytest.importorskip("jpeg_ls")
    dataset = pydicom.dcmread(get_testdata_file("MR_small_jpeg_ls_lossless.dcm"))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    description = request_of_a_frame[0] | {"syntax": str(dataset.file_meta.TransferSyntaxUID)}
    monkeypatch.setattr(decoding, "PATIENCE", 1e4)
    request = {"task": "frame", "seconds": 0.3, **description}
    with pytest.raises(DecodingError, match="the decoder took too much processor time"):
        worker.ask(request, frame[: len(frame) // 4 * 2])


@POSIX
def test_a_decoder_gets_so_much_memory_and_no_more(worker, tmp_path, monkeypatch):
    image = sitk.Image(400, 400, 400, sitk.sitkUInt8)
    sitk.WriteImage(image, str(tmp_path / "zeros.mha"), useCompression=True)
    monkeypatch.setattr(decoding, "MEMORY_BYTES", 600 << 20)
    with pytest.raises(DecodingError, match=r"stopped|crashed"):
        read_image(tmp_path / "zeros.mha", (3,))
    small = sitk.Image(40, 40, 40, sitk.sitkUInt8)
    sitk.WriteImage(small, str(tmp_path / "small.mha"))
    assert read_image(tmp_path / "small.mha", (3,))[1].shape == (40, 40, 40)


def test_a_process_that_cannot_start_says_how_to_see_why(worker, request_of_a_frame, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match=r"ended with code 1. Run `/bin/false .*decoder_worker"):
        decode_frame(*request_of_a_frame)
    assert worker.process is None


def test_a_reply_after_an_interrupt_answers_no_other_request(
    worker, request_of_a_frame, pixels, monkeypatch
):
    decode_frame(*request_of_a_frame)
    first = pid_of(worker)
    monkeypatch.setattr(decoding, "_receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode_frame(*request_of_a_frame)
    monkeypatch.undo()
    monkeypatch.setattr(decoding, "WORKER", worker)
    np.testing.assert_array_equal(decode_frame(*request_of_a_frame), pixels)
    assert pid_of(worker) != first


def interrupt(replies):
    raise KeyboardInterrupt


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_a_decoder_of_its_own(request_of_a_frame, pixels):
    decode_frame(*request_of_a_frame)
    parent = pid_of(decoding.WORKER)
    child = os.fork()
    if not child:
        try:
            same = np.array_equal(decode_frame(*request_of_a_frame), pixels)
            is_own = pid_of(decoding.WORKER) != parent
            decoding.WORKER.close()
            os._exit(0 if same and is_own else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(decode_frame(*request_of_a_frame), pixels)
    assert pid_of(decoding.WORKER) == parent


def test_closing_ends_the_process_and_removes_its_folder(request_of_a_frame):
    worker = DecoderProcess()
    worker.ask(*as_asked(request_of_a_frame))
    process, folder = worker.process, Path(worker.folder)
    assert folder.is_dir()
    worker.close()
    assert process.returncode == 0
    assert not folder.exists()


def test_the_process_ends_with_the_one_that_started_it(request_of_a_frame, tmp_path):
    """Whatever ends that one, its pipe closes; nothing is left on disk."""
    worker = DecoderProcess()
    worker.ask(*as_asked(request_of_a_frame))
    process, folder = worker.process, Path(worker.folder)
    process.stdin.close()
    assert process.wait(10) == 0
    assert not folder.exists()
    worker.close()


def test_what_was_read_is_said_in_itks_order(tmp_path):
    image = sitk.GetImageFromArray(np.arange(120, dtype=np.uint8).reshape(4, 5, 6))
    image.SetOrigin((7, 8, 9))
    sitk.WriteImage(image, str(tmp_path / "volume.nrrd"))
    info, array = read_image(tmp_path / "volume.nrrd", (3,))
    assert info["size"] == [6, 5, 4]
    assert info["origin"] == [7, 8, 9]
    np.testing.assert_array_equal(array, sitk.GetArrayFromImage(image))


def test_an_image_of_another_dimension_is_refused(tmp_path):
    sitk.WriteImage(sitk.Image(6, 5, sitk.sitkUInt8), str(tmp_path / "flat.mha"))
    with pytest.raises(DecodingError, match="got size 6 x 5"):
        read_image(tmp_path / "flat.mha", (3,))
