"""Orthanc's Python plug-in: put a report of its landmarks into each study that is stable."""

import json
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orthanc

COMMAND = f"{os.environ.get('SPINE_MONAI', 'spine-monai')} localize --formats json,sr".split()
one_by_one = ThreadPoolExecutor(max_workers=1)


def localize(study: str) -> None:
    """Send the landmarks of a study back into it."""
    series = json.loads(orthanc.RestApiGet(f"/studies/{study}/series"))
    tags = [one["MainDicomTags"] for one in series]
    if ("SR", "spine_monai") in [(one.get("Modality"), one.get("Manufacturer")) for one in tags]:
        return
    with tempfile.TemporaryDirectory() as source, tempfile.TemporaryDirectory() as out:
        for name in (name for one in series for name in one["Instances"]):
            Path(source, f"{name}.dcm").write_bytes(orthanc.GetDicomForInstance(name))
        code = subprocess.run([*COMMAND, source, "--out", out], check=False).returncode  # noqa: S603
        for report in Path(out).glob("*/landmarks.dcm"):
            orthanc.RestApiPost("/instances", report.read_bytes())
    orthanc.LogWarning(f"spine_monai: a study ended with exit code {code}")


def on_change(change: int, _level: int, resource: str) -> None:
    """Return at once, for Orthanc waits for it; the study is done when its turn comes."""
    if change == orthanc.ChangeType.STABLE_STUDY:
        task = one_by_one.submit(localize, resource)
        task.add_done_callback(lambda done: done.exception() and orthanc.LogError("spine: failed"))


orthanc.RegisterOnChangeCallback(on_change)
