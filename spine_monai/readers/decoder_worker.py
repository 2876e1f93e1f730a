"""The process that decodes, so that a damaged file can crash or stall a decoder, but no run.

``decoding`` starts this file by its path, as a script: it imports neither torch nor the rest of the
package, and nothing of the caller's ``__main__``. Requests come on standard input, replies go to
standard output: one line of JSON, then as many bytes as its ``bytes`` says. Each request names the
processor time it may take; beyond that, or beyond the memory limit, the process ends.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MRImageStorage,
    RLELossless,
)

GDCM_SYNTAXES = (
    *(RLELossless, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1),
    *(JPEGLSLossless, JPEGLSNearLossless, JPEG2000Lossless, JPEG2000),
)
SECONDS_PER_MILLION_VOXELS = 0.1


class RefusedError(ValueError):
    """The file can be read but must not be; its text is meant for the user."""


def decode_frame(description: dict[str, Any], data: bytes) -> NDArray[Any]:
    """Decode one compressed frame to its stored values.

    Args:
        description: the transfer syntax as ``syntax``, and as ``attributes`` what decoders need to
            know of the frame, by keyword; nothing in it could name a patient.
        data: the encoded frame.

    Returns:
        (rows, columns) whole numbers, not rescaled.

    Raises:
        RefusedError: no decoder knows the transfer syntax.
    """
    syntax = UID(description["syntax"])
    if has_pydicom_decoder(syntax, description["attributes"]["BitsStored"]):
        return decode_with_pydicom(description, data)
    if syntax in GDCM_SYNTAXES:
        return decode_with_itk(description, data)
    msg = "no installed decoder knows this transfer syntax (pip install 'spine_monai[dicom]' adds "
    msg += "some)"
    raise RefusedError(msg)


def has_pydicom_decoder(syntax: UID, bits_stored: int) -> bool:
    """Whether pydicom and the installed plug-ins decode a transfer syntax."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return False
    if syntax == JPEGExtended12Bit and bits_stored > 8:
        return bool(set(decoder.available_plugins) - {"pillow"})  # which knows 8 bits only
    return decoder.is_available


def decode_with_pydicom(description: dict[str, Any], data: bytes) -> NDArray[Any]:
    """Decode a frame with pydicom; arguments as of ``decode_frame``."""
    decoder = get_decoder(UID(description["syntax"]))
    # Run-length code of more pixels than Rows x Columns: pydicom would leave the rest out.
    warnings.filterwarnings("error", "The decoded RLE segment contains non-conformant padding")
    return decoder.as_array(_frame_dataset(description, data), index=0, raw=True)[0]


def decode_with_itk(description: dict[str, Any], data: bytes) -> NDArray[Any]:
    """Decode a frame with SimpleITK (GDCM), from a file that holds the frame and nothing else.

    So it finds no RescaleSlope to apply and no geometry. Arguments as of ``decode_frame``.
    """
    dataset = _frame_dataset(description, data)
    dataset.PhotometricInterpretation = "MONOCHROME2"  # it would invert the other kind
    with tempfile.TemporaryDirectory(prefix="spine_monai-") as folder:
        file = Path(folder) / "frame.dcm"
        dataset.save_as(file, enforce_file_format=True)
        image = sitk.ReadImage(str(file))
    return sitk.GetArrayFromImage(image)[0]


def _frame_dataset(description: dict[str, Any], data: bytes) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(description["syntax"])
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, "2.25.1"
    for keyword, value in description["attributes"].items():
        setattr(dataset, keyword, value)
    dataset.PixelData = encapsulate([data])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def read_image(
    path: str, dimensions: list[int], max_voxels: int
) -> tuple[dict[str, Any], sitk.Image]:
    """Read a file with SimpleITK.

    Args:
        path: an MHA, MHD, NRRD, PNG or JPEG file.
        dimensions: the numbers of dimensions that are wanted.
        max_voxels: the most values that it may hold.

    Returns:
        Its ``size``, ``components``, ``origin``, ``direction`` and ``spacing``, in ITK's order, and
        how many ``value_bytes`` its values have; and the image itself, float32 but for pictures.

    Raises:
        RefusedError: it has another number of dimensions, or is too large.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    reader.ReadImageInformation()
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    if reader.GetDimension() not in dimensions:
        msg = f"got size {' x '.join(map(str, size))}"
        raise RefusedError(msg)
    voxels = components * int(np.prod(size, dtype=object))
    if voxels > max_voxels:
        msg = f"got {voxels} values, more than the {max_voxels} that are read"
        raise RefusedError(msg)
    limit_processor_time(2.0 + SECONDS_PER_MILLION_VOXELS * voxels / 1e6)
    one_pixel = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID())
    if 3 in dimensions and components == 1:
        reader.SetOutputPixelType(sitk.sitkFloat32)
    image = reader.Execute()
    info = {"size": size, "components": components, "origin": image.GetOrigin()}
    info |= {"direction": image.GetDirection(), "spacing": image.GetSpacing()}
    info["value_bytes"] = voxels * one_pixel.GetSizeOfPixelComponent()
    return info, image


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until there are no more."""
    _send(replies, {"ready": os.getpid()})
    while line := requests.readline():
        request = json.loads(line)
        _answer(request, requests.read(request["bytes"]), replies)


def _answer(request: dict[str, Any], data: bytes, replies: BinaryIO) -> None:
    limit_processor_time(request["seconds"])
    try:
        info, pixels = _do(request, data)
    except RefusedError as error:
        _send(replies, {"refused": str(error)})
    except Exception as error:  # whatever a decoder raises on damaged data
        _send(replies, {"failed": type(error).__name__})
    else:
        # A view, as a copy might not fit into memory; it is valid as long as ``pixels`` lives.
        view = pixels if isinstance(pixels, np.ndarray) else sitk.GetArrayViewFromImage(pixels)
        array = np.ascontiguousarray(view)
        _send(replies, info | {"shape": array.shape, "dtype": array.dtype.str}, array)
    limit_processor_time(0.0)


def _do(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], NDArray[Any] | sitk.Image]:
    if request["task"] == "frame":
        return {}, decode_frame(request, data)
    return read_image(request["path"], request["dimensions"], request["max_voxels"])


def _send(replies: BinaryIO, info: dict[str, Any], array: NDArray[Any] | None = None) -> None:
    data = b"" if array is None else array.reshape(-1).view("u1").data
    replies.write(json.dumps(info | {"bytes": len(data)}).encode() + b"\n")
    replies.write(data)
    replies.flush()


def limit_processor_time(seconds: float) -> None:
    """End this process once it has computed for so long; 0 takes the limit away."""
    if hasattr(signal, "setitimer"):  # not on Windows, where ``decoding`` watches the clock
        signal.setitimer(signal.ITIMER_PROF, seconds)


def limit_memory(limit_bytes: int) -> None:
    """Let this process have so much memory, and let it leave no core file, which holds pixels."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(limit_bytes: int, folder: str) -> None:
    """Serve on standard input and output, which libraries can then no longer print to.

    Args:
        limit_bytes: the most memory that this process may have.
        folder: for temporary files; removed at the end, which comes when the caller is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent; then input ends
    replies = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    limit_memory(limit_bytes)
    tempfile.tempdir = folder
    serve(sys.stdin.buffer, replies)
    with contextlib.suppress(OSError):
        os.rmdir(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
