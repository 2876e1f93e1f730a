"""The structured report in a real viewer: OHIF, in a headless browser, before a real archive.

Opt in: it needs Debian's orthanc, orthanc-dicomweb, chromium, gcc and nodejs, and a folder with the
built viewer and the browser's driver, named by SPINE_MONAI_OHIF:

    mkdir ohif && cd ohif
    npm pack @ohif/app && tar xf ohif-app-*.tgz && npm install puppeteer-core

Everything listens on 127.0.0.1. SPINE_MONAI_OHIF_PICTURE names a file for the screenshot.
"""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from spine_monai.data.synthetic import make_study
from spine_monai.landmarks import LUMBAR11, LandmarkSet
from spine_monai.readers import locate_study
from spine_monai.transforms import LoadSpineStudyd, SagittalSliced
from spine_monai.writers import Result, case_content
from spine_monai.writers.dicom_sr import write_sr

HERE = Path(__file__).parent / "ohif"
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PROGRAMS = ("Orthanc", "chromium", "node", "gcc")
BUNDLE = {"name": "spine_landmarks", "version": "0.3.0", "weights_sha256": {"model.pt": "ab" * 32}}
VIEWER_CONFIG = {
    "extensions": [],
    "modes": [],
    "customizationService": {},
    "showStudyList": True,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "archive",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "archive",
            "configuration": {
                "friendlyName": "archive",
                **dict.fromkeys(("wadoUriRoot", "qidoRoot", "wadoRoot"), "/dicom-web"),
                **dict.fromkeys(("imageRendering", "thumbnailRendering"), "wadors"),
                **dict.fromkeys(("qidoSupportsIncludeField", "supportsFuzzyMatching"), False),
                "enableStudyLazyLoad": True,
            },
        }
    ],
}

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def packages():
    """The folder of the viewer and the driver; the test is skipped where something is missing."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    missing += [] if DICOMWEB_PLUGIN.is_file() else ["orthanc-dicomweb"]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder = Path(os.environ.get("SPINE_MONAI_OHIF", ""))
    parts = (folder / "package" / "dist" / "index.html", folder / "node_modules" / "puppeteer-core")
    if not os.environ.get("SPINE_MONAI_OHIF") or not all(part.exists() for part in parts):
        pytest.skip("SPINE_MONAI_OHIF names no folder with @ohif/app and puppeteer-core")
    return folder.resolve()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def archive(packages, tmp_path_factory):
    """The address of an empty Orthanc with DICOMweb."""
    folder, port = tmp_path_factory.mktemp("orthanc"), free_port()
    shim = folder / "loopback_bind.so"
    gcc = ["gcc", "-shared", "-fPIC", "-O2", "-o", shim, HERE / "loopback_bind.c", "-ldl"]
    subprocess.run(gcc, check=True)
    config = {
        **dict.fromkeys(("StorageDirectory", "IndexDirectory"), str(folder / "db")),
        "Plugins": [str(DICOMWEB_PLUGIN)],
        "HttpPort": port,
        "HttpCompressionEnabled": False,
        **dict.fromkeys(("RemoteAccessAllowed", "DicomServerEnabled"), False),
        "AuthenticationEnabled": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "db").mkdir()
    (folder / "orthanc.json").write_text(json.dumps(config))
    with (folder / "log.txt").open("w") as log:
        orthanc = subprocess.Popen(
            ["Orthanc", str(folder / "orthanc.json")],
            env=os.environ | {"LD_PRELOAD": str(shim)},
            stdout=log,
            stderr=log,
        )
    try:
        yield wait_for(f"http://127.0.0.1:{port}", orthanc)
    finally:
        orthanc.terminate()
        orthanc.wait(timeout=20)


def wait_for(address, process, seconds=20):
    for _ in range(10 * seconds):
        assert process.poll() is None, "Orthanc has ended"
        try:
            urllib.request.urlopen(f"{address}/system").close()
            return address
        except urllib.error.URLError:
            time.sleep(0.1)
    pytest.fail(f"Orthanc does not answer within {seconds} s")


@pytest.fixture(scope="module")
def viewer(packages, archive):
    """The address of OHIF, which finds the archive under its own address."""

    class Pages(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=packages / "package" / "dist")

        def log_message(self, *arguments):
            pass

        def do_GET(self):
            path = self.path.split("?")[0]
            if path.startswith("/dicom-web"):
                self.send(*fetch(archive + self.path, self.headers.get("Accept", "*/*")))
            elif path == "/app-config.js":
                text = f"window.config = {json.dumps(VIEWER_CONFIG)};"
                self.send(200, "text/javascript", text.encode())
            else:
                if not Path(self.translate_path(path)).is_file():
                    self.path = "/index.html"
                super().do_GET()

        def send(self, status, kind, body):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fetch(address, accept):
    request = urllib.request.Request(address, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, "text/plain", error.read()


@pytest.fixture(scope="module")
def phantom():
    """An oblique spine that stays in the middle slice; pixels are not square."""
    return make_study(oblique_deg=(8, -6, 12), seed=3)


@pytest.fixture(scope="module")
def study_uid(archive, phantom, tmp_path_factory):
    """The phantom and its report, in the archive."""
    folder = tmp_path_factory.mktemp("study")
    files = phantom.write_dicom(folder / "images", seed="ohif", PatientID="1")
    study = locate_study(folder / "images")
    item = SagittalSliced("image")(LoadSpineStudyd("image")({"image": folder / "images"}))
    points_lps = np.stack([phantom.points_lps[name] for name in LUMBAR11.names])
    sure = LandmarkSet(LUMBAR11, points_lps, np.full(11, 0.9), np.full(11, 3.0), calibrated=True)
    result = Result("ohif", sure, item["image_source"], item["slice"], item["native_image"])
    write_sr(result, case_content(result, study, BUNDLE, {}), study.series, folder / "sr.dcm")
    for file in [*files, folder / "sr.dcm"]:
        urllib.request.urlopen(f"{archive}/instances", data=file.read_bytes()).close()
    return study.series.uids["StudyInstanceUID"]


@pytest.fixture(scope="module")
def shown(packages, viewer, study_uid, tmp_path_factory):
    """What OHIF has and draws once the report is loaded."""
    folder = tmp_path_factory.mktemp("browser")
    picture = os.environ.get("SPINE_MONAI_OHIF_PICTURE", str(folder / "picture.png"))
    command = ["node", HERE / "read_points.mjs", packages, shutil.which("chromium")]
    command += [f"{viewer}/viewer?StudyInstanceUIDs={study_uid}", folder / "profile", picture]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_ohif_has_the_eleven_points_at_their_places(shown, phantom):
    assert [point["label"] for point in shown["points"]] == [
        f"{name} (confidence 90 %)" for name in LUMBAR11.names
    ]
    for point, name in zip(shown["points"], LUMBAR11.names, strict=True):
        np.testing.assert_allclose(point["lps"], phantom.points_lps[name], atol=1e-5)
    assert shown["points"][1]["site"] == "L1 vertebra"


def test_ohif_draws_the_eleven_points_on_their_slice(shown, phantom):
    """A circle's place on the screen, taken back to the patient through the viewport's camera."""
    expected = np.stack([phantom.points_lps[name] for name in LUMBAR11.names])
    np.testing.assert_allclose(shown["circles"], expected, atol=0.01)
