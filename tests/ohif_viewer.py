"""A real viewer for tests: OHIF, in a headless browser, before a real archive.

Opt in: it needs Debian's orthanc, orthanc-dicomweb, chromium, gcc and nodejs, and a folder with the
built viewer and the browser's driver, named by SPINE_MONAI_OHIF:

    mkdir ohif && cd ohif
    npm pack @ohif/app && tar xf ohif-app-*.tgz && npm install puppeteer-core

Everything listens on 127.0.0.1. SPINE_MONAI_OHIF_PICTURE names a file for the last screenshot.
"""

import base64
import json
import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pacs_servers import orthanc_missing

SCRIPT = Path(__file__).parent / "integration" / "ohif" / "read_points.mjs"
PARTS = ("package/dist/index.html", "node_modules/puppeteer-core")
CONFIG = {
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


def ohif_missing():
    """Say why OHIF cannot run here, or ``None``."""
    missing = [name for name in ("chromium", "node") if not shutil.which(name)]
    if missing or orthanc_missing():
        return orthanc_missing() or f"not installed: {', '.join(missing)}"
    folder = os.environ.get("SPINE_MONAI_OHIF")
    if not folder or not all((Path(folder) / part).exists() for part in PARTS):
        return "SPINE_MONAI_OHIF names no folder with @ohif/app and puppeteer-core"
    return None


def shown_in_ohif(orthanc, study_uid, folder):
    """Load a study's structured report in OHIF, and return what OHIF then has and draws.

    Args:
        orthanc: a running `pacs_servers.Orthanc` that has the study.
        study_uid: its StudyInstanceUID.
        folder: for the browser's profile and the picture.

    Returns:
        ``points``: label, site, lps (mm) and frameOfReference of each; ``circles``: each circle's
        place on the screen, taken back to the patient (LPS, mm) through the viewport's camera.
    """
    packages = Path(os.environ["SPINE_MONAI_OHIF"]).resolve()
    picture = os.environ.get("SPINE_MONAI_OHIF_PICTURE", folder / "picture.png")
    with viewer_before(orthanc, packages / "package" / "dist") as viewer:
        command = ["node", SCRIPT, packages, shutil.which("chromium")]
        command += [f"{viewer}/viewer?StudyInstanceUIDs={study_uid}", folder / "profile", picture]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def viewer_before(orthanc, pages):
    """Serve OHIF, which finds the archive under its own address, and give that address."""
    handler = partial(Pages, orthanc, directory=pages)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class Pages(SimpleHTTPRequestHandler):
    """The viewer's files and settings, and the archive's DICOMweb."""

    def __init__(self, orthanc, *arguments, **named):
        self.orthanc = orthanc
        super().__init__(*arguments, **named)

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.startswith("/dicom-web"):
            self.send(*self.asked_of_archive())
        elif path == "/app-config.js":
            self.send(200, "text/javascript", f"window.config = {json.dumps(CONFIG)};".encode())
        else:
            if not Path(self.translate_path(path)).is_file():
                self.path = "/index.html"
            super().do_GET()

    def asked_of_archive(self):
        token = base64.b64encode(":".join(self.orthanc.auth).encode()).decode()
        headers = {"Accept": self.headers.get("Accept", "*/*"), "Authorization": f"Basic {token}"}
        request = urllib.request.Request(self.orthanc.url + self.path, headers=headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, "text/plain", error.read()

    def send(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
