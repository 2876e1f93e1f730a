"""Entry point of a Kaapana operator: landmarks of each element of the batch.

Kaapana names the folders: <workflow>/<batch>/<element>/<operator>. What this operator writes, a
later one takes: of the DICOM results, the one that sends to the PACS.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FORMATS = os.environ.get("SPINE_MONAI_FORMATS", "json,sr")
COMMAND = [*os.environ.get("SPINE_MONAI", "spine-monai").split(), "localize", "--formats", FORMATS]
batch = Path("/", os.environ["WORKFLOW_DIR"], os.environ["BATCH_NAME"])


def localize(element: Path) -> bool:
    """Whether the element's landmarks were found."""
    target = element / os.environ["OPERATOR_OUT_DIR"]
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        source = str(element / os.environ["OPERATOR_IN_DIR"])
        command = [*COMMAND, source, "--out", home]
        code = subprocess.run(command, check=False).returncode  # noqa: S603
        for folder in filter(Path.is_dir, Path(home).iterdir()):
            shutil.copytree(folder, target, dirs_exist_ok=True)
    return code == 0


done = [localize(element) for element in sorted(filter(Path.is_dir, batch.iterdir()))]
print(f"{sum(done)} of {len(done)} elements have landmarks")  # noqa: T201
sys.exit(0 if any(done) else 1)  # one study without a sagittal T2 series must not end the batch
