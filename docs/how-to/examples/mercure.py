"""Entry point of a mercure module: landmarks of the series or study that mercure hands over.

mercure names the folders, puts task.json beside the images, and sends on the DICOM files that it
finds in the output folder. Settings of the module: {"formats": "json,sr"}.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

source, target = Path(os.environ["MERCURE_IN_DIR"]), Path(os.environ["MERCURE_OUT_DIR"])


def settings() -> dict[str, str]:
    """What the module was configured with."""
    task = source / "task.json"
    process = json.loads(task.read_text()).get("process", {}) if task.exists() else {}
    first = process[0] if isinstance(process, list) else process  # several modules in a row
    return first.get("settings") or {}


with tempfile.TemporaryDirectory() as home:
    command = [*os.environ.get("SPINE_MONAI", "spine-monai").split(), "localize", str(source)]
    command += ["--out", home, "--formats", settings().get("formats", "json,sr")]
    code = subprocess.run(command, check=False).returncode  # noqa: S603
    for folder in filter(Path.is_dir, sorted(Path(home).iterdir())):
        for file in filter(Path.is_file, folder.iterdir()):
            shutil.copy(file, target / f"{folder.name}_{file.name}")
    report = Path(home, "report.json")
    cases = json.loads(report.read_text())["cases"] if report.exists() else []
    statuses = [case["status"] for case in cases]
    result = {"exit_code": code, "done": statuses.count("done"), "failed": statuses.count("failed")}
    (target / "result.json").write_text(json.dumps(result))
sys.exit(code)
