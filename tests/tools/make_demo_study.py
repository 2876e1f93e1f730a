"""Write the bundle's demo study: SPIDER sub-034 as a DICOM series, and its reference points.

    python tests/tools/make_demo_study.py <folder with sub-034> bundles/spine_landmarks/sample

The source is the SPIDER data set (van der Graaf et al. 2024, doi 10.5281/zenodo.10159290,
CC BY 4.0). Made once; the files are in the repository.
"""

import sys
from pathlib import Path

from spine_monai.data import datalist_from_markups, write_datalist
from spine_monai.data.dicom import write_dicom_series
from spine_monai.landmarks import LUMBAR11
from spine_monai.readers import read_study
from spine_monai.transforms.slices import upright

ATTRIBUTES = {
    "SeriesDescription": "T2 sag",
    "StudyDescription": "SPIDER sub-034",
    "ImageComments": (
        "SPIDER sub-034 (doi 10.5281/zenodo.10159290, CC BY 4.0). 8-bit source; left/right and "
        "origin assumed. Not for clinical use."
    ),
}


def main(data: str, sample: str) -> None:
    case, target = Path(data) / "sub-034", Path(sample)
    volume = upright(read_study(case / "t2.nii.gz").image)
    pixels = volume[0].numpy().astype(int)
    write_dicom_series(
        pixels, volume.affine, target / "sub-034", seed="sub-034", attributes=ATTRIBUTES
    )
    item = datalist_from_markups([case], LUMBAR11)[0] | {"image": str(target / "sub-034")}
    item.pop("mask")
    item.pop("slice_index")  # the middle one, as for any study
    write_datalist([item], target / "datalist.json", LUMBAR11.name, section="testing")


if __name__ == "__main__":
    main(*sys.argv[1:])
