"""The studies that are mutated: real and synthetic, in every format and syntax that is read."""

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hard_cases import CASES
from hard_cases.registry import PHANTOM, write
from PIL import Image
from pydicom.data import get_testdata_file

TESTS = Path(__file__).parents[1]
DEMO = TESTS.parent / "bundles" / "spine_landmarks" / "sample" / "sub-034"
REAL_FILES = TESTS / "data" / "dicom_io"
# Of the hard cases, those that differ in how files are written, not in what is wrong with them.
PHANTOMS = (
    *("implicit_vr", "big_endian", "deflated", "run_length", "jpeg_ls", "jpeg_lossless"),
    *("jpeg_2000", "eight_bits", "signed", "monochrome1", "no_preamble", "no_meta", "two_series"),
    *("enhanced", "enhanced_compressed", "legacy_converted", "dicomdir", "zipped"),
    *("sform_alone", "qform_alone", "one_volume_of_four_dimensions"),
)
# One image each, refused for that; but only after its pixels are decoded.
PYDICOM_FILES = (
    *("MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_implicit.dcm"),
    *("MR_small_jpeg_ls_lossless.dcm", "MR_small_bigendian.dcm", "MR_small_padded.dcm"),
)
PICTURE_SPACING_MM = 1.5


@dataclass(frozen=True)
class Seed:
    """A study on disk, whole and readable.

    Args:
        name: of its folder.
        study: what a user would name, relative to that folder.
        weight: how often it is taken, relative to the others.
    """

    name: str
    study: str = "."
    weight: int = 2

    @property
    def pixel_spacing_mm(self) -> float | None:
        """What a user gives beside a picture."""
        return PICTURE_SPACING_MM if self.study.endswith(".png") else None


def make_seeds(folder: Path) -> list[Seed]:
    """Write the studies, each into a folder of its name.

    Args:
        folder: empty, or one that holds them already.
    """
    seeds = [_seed(name, make, folder / name) for name, make in _makers().items()]
    weights = {"demo": 8, "uncompressed": 8, "enhanced": 4}
    return [Seed(one.name, one.study, weights.get(one.name, one.weight)) for one in seeds]


def _seed(name: str, make: Callable[[Path], Path], folder: Path) -> Seed:
    marker = folder.with_name(f"{name}.study")
    if not marker.is_file():
        folder.mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the writers say of their own input
            study = make(folder)
        marker.write_text(str(study.relative_to(folder)))
    return Seed(name, marker.read_text())


def _makers() -> dict[str, Callable[[Path], Path]]:
    phantoms = {case.name: case.build for case in CASES if case.name in PHANTOMS}
    makers = {name: lambda to, build=build: build(to).path for name, build in phantoms.items()}
    makers |= {"uncompressed": _written, "demo": lambda to: _copied(DEMO, to)}
    makers |= {"picture.png": _picture, "volume.mha": _by_itk, "volume.nrrd": _by_itk}
    makers |= {"packed.mha": _packed_by_itk, "packed.nrrd": _packed_by_itk}
    real = sorted(path for path in REAL_FILES.iterdir() if path.is_dir())
    makers |= {path.name: lambda to, path=path: _copied(path, to) for path in real}
    files = {name: Path(get_testdata_file(name, download=False)) for name in PYDICOM_FILES}
    return makers | {n: lambda to, path=path: _one_file(path, to) for n, path in files.items()}


def _written(folder: Path) -> Path:
    write(folder)
    return folder


def _copied(source: Path, folder: Path) -> Path:
    return Path(shutil.copytree(source, folder, dirs_exist_ok=True))


def _one_file(source: Path, folder: Path) -> Path:
    return Path(shutil.copy(source, folder))


def _picture(folder: Path) -> Path:
    pixels = (PHANTOM.volume[..., 3] // 5).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "slice.png")
    return folder / "slice.png"


def _by_itk(folder: Path, *, is_packed: bool = False) -> Path:
    import SimpleITK as sitk

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ PHANTOM.ras_from_index
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(PHANTOM.volume.T)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    path = folder / f"t2{folder.suffix}"
    sitk.WriteImage(image, str(path), useCompression=is_packed)
    return path


def _packed_by_itk(folder: Path) -> Path:
    return _by_itk(folder, is_packed=True)
