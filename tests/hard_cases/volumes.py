"""Files that hold one volume: NIfTI, MHA and NRRD."""

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from hard_cases.registry import PHANTOM, Written, hard_case

GROUP = "Volume files"
AFFINE = PHANTOM.ras_from_index
# Where fields of the NIfTI-1 header lie.
DIM, XYZT_UNITS = 40, 123


def _nifti(path: Path, volume=PHANTOM.volume, *, sform: int = 1, qform: int = 0) -> Path:
    image = nib.Nifti1Image(volume, None)
    image.set_sform(AFFINE, sform)
    image.set_qform(AFFINE, qform)
    nib.save(image, path)
    return path


def _poke(path: Path, offset: int, content: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[offset : offset + len(content)] = content
    path.write_bytes(data)
    return path


@hard_case(GROUP, "NIfTI with an sform alone, scaled")
def sform_alone(folder: Path) -> Written:
    image = nib.Nifti1Image(PHANTOM.volume.astype(np.int16), AFFINE)
    image.set_qform(None, 0)
    image.header.set_slope_inter(0.5, -30.0)
    nib.save(image, folder / "t2.nii.gz")
    return Written(folder / "t2.nii.gz", PHANTOM.volume * 0.5 - 30.0)


@hard_case(GROUP, "NIfTI with a qform alone")
def qform_alone(folder: Path) -> Written:
    return Written(_nifti(folder / "t2.nii", sform=0, qform=1))


@hard_case(GROUP, "NIfTI whose qform lies 9 mm from its sform", warns=["qform_differs"])
def two_forms(folder: Path) -> Written:
    image = nib.Nifti1Image(PHANTOM.volume, None)
    elsewhere = AFFINE.copy()
    elsewhere[:3, 3] += [0, 9, 0]
    image.set_sform(AFFINE, 2)
    image.set_qform(elsewhere, 1)
    nib.save(image, folder / "t2.nii.gz")
    return Written(folder / "t2.nii.gz")


@hard_case(
    GROUP, "NIfTI with neither form", refused=["sform_code and qform_code are both 0", "t2.nii"]
)
def no_form(folder: Path) -> Written:
    return Written(_nifti(folder / "t2.nii", sform=0, qform=0))


@hard_case(GROUP, "NIfTI in metres", refused=["must have lengths in mm", "xyzt_units"])
def metres(folder: Path) -> Written:
    return Written(_poke(_nifti(folder / "t2.nii"), XYZT_UNITS, b"\x01"))


@hard_case(GROUP, "NIfTI of four dimensions that holds one volume")
def one_volume_of_four_dimensions(folder: Path) -> Written:
    return Written(_nifti(folder / "t2.nii.gz", PHANTOM.volume[..., None]))


@hard_case(
    GROUP, "NIfTI of two volumes", refused=["must hold one three-dimensional image", "t2.nii"]
)
def two_volumes(folder: Path) -> Written:
    return Written(_nifti(folder / "t2.nii.gz", np.stack([PHANTOM.volume] * 2, axis=-1)))


@hard_case(
    GROUP,
    "NIfTI whose header says one slice less",
    refused=["must be as long as its header says", "t2.nii"],
)
def one_slice_less(folder: Path) -> Written:
    return Written(_poke(_nifti(folder / "t2.nii"), DIM + 6, struct.pack("<h", 5)))


@hard_case(
    GROUP,
    "NIfTI whose header says 32000 x 32000 x 32000",
    refused=["must hold at most 268435456 voxels", "t2.nii"],
)
def huge_nifti(folder: Path) -> Written:
    return Written(_poke(_nifti(folder / "t2.nii"), DIM + 2, struct.pack("<3h", *[32000] * 3)))


@hard_case(
    GROUP,
    "compressed NIfTI cut short",
    refused=["must be a readable NIfTI file", "t2.nii.gz"],
)
def nifti_cut_short(folder: Path) -> Written:
    path = _nifti(folder / "t2.nii.gz")
    path.write_bytes(path.read_bytes()[:-300])
    return Written(path)


@hard_case(
    GROUP,
    "compressed NIfTI whose checksum is wrong",
    refused=["must be a readable NIfTI file", "t2.nii.gz"],
)
def nifti_checksum(folder: Path) -> Written:
    content = bytearray(gzip.compress(_nifti(folder / "aside.nii").read_bytes()))
    content[-8] ^= 0x40
    (folder / "t2.nii.gz").write_bytes(content)
    return Written(folder / "t2.nii.gz")


def _itk(path: Path, *, compress: bool) -> Path:
    image = sitk.GetImageFromArray(PHANTOM.volume.T)
    lps_from_index = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
    spacing = np.linalg.norm(lps_from_index[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetDirection((lps_from_index[:3, :3] / spacing).ravel())
    image.SetOrigin(lps_from_index[:3, 3])
    sitk.WriteImage(image, str(path), useCompression=compress)
    return path


@hard_case(GROUP, "MHA, compressed")
def mha(folder: Path) -> Written:
    return Written(_itk(folder / "t2.mha", compress=True))


@hard_case(GROUP, "NRRD")
def nrrd(folder: Path) -> Written:
    return Written(_itk(folder / "t2.nrrd", compress=False))


@hard_case(GROUP, "NRRD cut short", refused=["must be a readable MHA or NRRD file", "t2.nrrd"])
def nrrd_cut_short(folder: Path) -> Written:
    path = _itk(folder / "t2.nrrd", compress=False)
    path.write_bytes(path.read_bytes()[:-300])
    return Written(path)


@hard_case(GROUP, "MHA of two dimensions", refused=["one three-dimensional grey image", "t2.mha"])
def flat_mha(folder: Path) -> Written:
    sitk.WriteImage(sitk.GetImageFromArray(PHANTOM.volume[..., 0]), str(folder / "t2.mha"))
    return Written(folder / "t2.mha")
