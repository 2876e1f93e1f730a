"""What XNAT's container service starts in the container: `xnat.py /input /output`.

XNAT mounts the session (SCANS/<number>/resources/DICOM/files/*.dcm) or the scan at /input, and
uploads what lies in /output as a resource; see xnat-command.json beside this file.
"""

import os
import subprocess
import sys

source, target, *formats = sys.argv[1:]
command = [*os.environ.get("SPINE_MONAI", "spine-monai").split(), "localize", source]
command += ["--out", target, "--formats", formats[0] if formats else "json,csv,markups,sr"]
sys.exit(subprocess.run(command, check=False).returncode)  # noqa: S603
