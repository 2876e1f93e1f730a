"""What the headers of a mutated DICOM study say, by pydicom alone: what a reading must agree with.

All is derived anew from the files that a reading names. Pixels of uncompressed files are taken from
their bytes; of compressed ones those of the seed, if the encoded bytes are the seed's.
"""

import hashlib
import io
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from spine_monai.readers import LocatedStudy, Volume

# How far the readers let a slice stand off its even place, as a part of the distance of slices.
SLICE_TOLERANCE, PLANE_TOLERANCE, HALF_A_DEGREE = 0.1, 2e-3, 0.01
END_OF_SEQUENCE = b"\xfe\xff\xdd\xe0\0\0\0\0"
Decoded = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Image:
    """One image as its header says: where its first pixel lies, the steps along a column and a row.

    Args:
        file: that holds it.
        frame: its number in the file.
        header: of the frame, the file's own and the functional groups' attributes in one.
        pixels: (rows, columns) values in the modality's units; ``None`` where only a decoder knows.
    """

    file: Path
    frame: int
    header: Dataset
    pixels: NDArray[Any] | None

    @property
    def position_lps(self) -> NDArray[np.float64]:
        return np.array(self.header.ImagePositionPatient, float)

    @property
    def axes_lps(self) -> NDArray[np.float64]:
        """(3, 2) along a column, and along a row."""
        along_row, along_column = np.array(self.header.ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = np.array(self.header.PixelSpacing, float)
        return np.stack([along_column * row_mm, along_row * column_mm], axis=1)


def faults_of_dicom(located: LocatedStudy, volume: Volume, decoded: Decoded) -> Iterator[str]:
    """Yield what is wrong with a reading, by the headers of its files.

    Args:
        located: the study and the files that were chosen.
        volume: what was read.
        decoded: stored pixels (frames, rows, columns) by the SHA-256 of their encoding.
    """
    array, affine = volume.image[0].numpy(), volume.image.affine.numpy().astype(float)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    images = [one for file in located.files for one in images_of(file, decoded)]
    step_mm = float(np.linalg.norm(lps[:3, 2]))
    for number in range(array.shape[2]):
        place = lps[:3, 3] + number * lps[:3, 2]
        near = [one for one in images if _apart_mm(one, place) <= SLICE_TOLERANCE * step_mm]
        if not near:
            yield f"no image says that it lies where slice {number} does"
            continue
        if not any(np.allclose(one.axes_lps, lps[:3, :2], rtol=0, atol=_atol(lps)) for one in near):
            yield f"slice {number} has other directions or spacing than its header says"
        if not any(_has_pixels(one, array[..., number]) for one in near):
            yield f"slice {number} has other pixels than its file"
    yield from _left_out(located, volume, images)


def _apart_mm(image: Image, place_lps: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(image.position_lps - place_lps))


def _atol(lps: NDArray[np.float64]) -> float:
    return HALF_A_DEGREE * float(np.linalg.norm(lps[:3, :2], axis=0).max())


def _has_pixels(image: Image, pixels: NDArray[Any]) -> bool:
    if image.pixels is None:
        return True
    if image.pixels.shape != pixels.shape:
        return False
    size = float(np.abs(image.pixels).max())
    return np.allclose(image.pixels, pixels, rtol=1e-5, atol=1e-6 * size + 1e-6)


def _left_out(located: LocatedStudy, volume: Volume, images: list[Image]) -> Iterator[str]:
    """Places of the series' own files that are no slices of the volume, and not told of."""
    codes = {warning["code"] for warning in (*located.warnings, *volume.warnings)}
    places = {tuple(np.round(one.position_lps, 2)) for one in images}
    if len(places) > volume.image.shape[3] and "part" not in located.reason and not codes:
        yield f"{len(places)} places became {volume.image.shape[3]} slices without a word"


def images_of(file: Path, decoded: Decoded) -> list[Image]:
    """Return the images in a file; one inside a zip is named by the zip's path and its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = _parse(_content(file))
        count = _integer(dataset, "NumberOfFrames", 1)
        stored = _stored(dataset, count, decoded)
        frames = [_flat(dataset, number) for number in range(count)]
        return [
            Image(
                file, number, header, None if stored is None else _rescaled(header, stored[number])
            )
            for number, header in enumerate(frames)
        ]


def _content(file: Path) -> bytes:
    if file.is_file():
        return file.read_bytes()
    archive = next(parent for parent in file.parents if parent.is_file())
    with zipfile.ZipFile(archive) as members:
        return members.read(str(file.relative_to(archive)))


def _parse(content: bytes) -> Dataset:
    """All attributes; pydicom drops them where the last one is a sequence without its end."""
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    if "PixelData" in dataset:
        return dataset
    return pydicom.dcmread(io.BytesIO(content + END_OF_SEQUENCE), force=True)


def _flat(dataset: Dataset, number: int) -> Dataset:
    """The attributes of a frame; those of the functional groups overrule the file's own."""
    header = Dataset()
    for keyword in ("Rows", "Columns", "BitsStored", "PixelRepresentation"):
        setattr(header, keyword, _integer(dataset, keyword, 0))
    sources = [dataset]
    for sequence, at in (("SharedFunctional", 0), ("PerFrameFunctional", number)):
        items = dataset.get(f"{sequence}GroupsSequence") or []
        for group in list(items)[at : at + 1]:
            sources += [
                item[0] for item in group if item.keyword and item.VR == "SQ" and item.value
            ]
    for source in sources:
        for keyword in (
            *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"),
            *("RescaleIntercept", "PhotometricInterpretation"),
        ):
            if source.get(keyword) not in (None, ""):
                setattr(header, keyword, source.get(keyword))
    return header


def _integer(dataset: Dataset, keyword: str, absent: int) -> int:
    value = dataset.get(keyword)
    return absent if value in (None, "") else int(value)


def _stored(dataset: Dataset, count: int, decoded: Decoded) -> NDArray[Any] | None:
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))
    known = decoded.get(hashlib.sha256(dataset.PixelData).hexdigest())
    if known is not None:
        return known
    if syntax and (not syntax.is_transfer_syntax or syntax.is_compressed):
        return None  # the mutation touched what the decoder was given
    _, is_little = dataset.original_encoding
    bits, is_signed = (
        _integer(dataset, "BitsAllocated", 0),
        _integer(dataset, "PixelRepresentation", 0),
    )
    shape = (count, _integer(dataset, "Rows", 0), _integer(dataset, "Columns", 0))
    if bits not in (8, 16, 32):
        return None
    kind = f"{'<' if is_little else '>'}{'i' if is_signed else 'u'}{bits // 8}"
    values = np.frombuffer(dataset.PixelData[: int(np.prod(shape)) * bits // 8], kind)
    return _low_bits(values, _integer(dataset, "BitsStored", bits)).reshape(shape)


def _low_bits(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """What the stored bits say; those above them may hold anything."""
    unused = 8 * values.itemsize - bits
    return (values << unused) >> unused if 0 < unused < 8 * values.itemsize else values


def _rescaled(header: Dataset, stored: NDArray[Any]) -> NDArray[Any] | None:
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        return None  # turned over by the whole series, which one image cannot tell
    slope = np.float32(header.get("RescaleSlope", 1))
    return stored.astype(np.float32) * slope + np.float32(header.get("RescaleIntercept", 0))


def decoded_pixels(folder: Path) -> dict[str, NDArray[Any]]:
    """Decode the compressed files of a seed with pydicom or SimpleITK: files that can be trusted.

    Returns:
        Stored pixels (frames, rows, columns) by the SHA-256 of their encoding.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datasets = [(path, pydicom.dcmread(path, force=True)) for path in _files(folder)]
        return {
            hashlib.sha256(dataset.PixelData).hexdigest(): pixels
            for path, dataset in datasets
            if _is_compressed(dataset) and (pixels := _decode(path, dataset)) is not None
        }


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _is_compressed(dataset: Dataset) -> bool:
    syntax = dataset.file_meta.get("TransferSyntaxUID", UID(""))
    is_known = bool(syntax) and syntax.is_transfer_syntax and "PixelData" in dataset
    return is_known and syntax.is_compressed and dataset.get("SamplesPerPixel") == 1


def _decode(path: Path, dataset: Dataset) -> NDArray[Any] | None:
    """(frames, rows, columns) stored values; none where only a decoder that rescales knows them."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    try:
        return dataset.pixel_array.reshape(frames, dataset.Rows, dataset.Columns)
    except (RuntimeError, NotImplementedError):
        pass
    if dataset.get("RescaleSlope", 1) != 1 or dataset.get("RescaleIntercept", 0) != 0:
        return None
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
