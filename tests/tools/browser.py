"""A headless Chromium for tests, driven through ChromeDriver with the standard library alone."""

import base64
import json
import re
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("chromium", "chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # W3C WebDriver, section 12
FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--hide-scrollbars",
]


def missing_programs():
    """Names of the programs that are not installed here."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextmanager
def open_browser(profile: Path):
    """A browser with a profile folder of its own; it is closed at the end."""
    driver = subprocess.Popen(
        [shutil.which("chromedriver"), "--port=0"], stdout=subprocess.PIPE, text=True
    )
    try:
        port = _port(driver)
        browser = Browser(f"http://127.0.0.1:{port}", profile)
        try:
            yield browser
        finally:
            browser.quit()
    finally:
        driver.terminate()
        driver.wait(timeout=10)
        driver.stdout.close()


class Browser:
    """One WebDriver session that keeps the console's and the network's log."""

    def __init__(self, server: str, profile: Path):
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._root = server
        options = {"binary": shutil.which("chromium")}
        options["args"] = [*FLAGS, f"--user-data-dir={profile}"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._root = f"{server}/session/{session['sessionId']}"

    def open(self, url):
        self._call("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """The value that a piece of JavaScript returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def click(self, selector):
        self._call("POST", f"/element/{self._find(selector)}/click", {})

    def type(self, selector, text):
        """Press keys in an element; ``\\ue007`` is Enter, ``\\ue004`` is Tab."""
        self._call("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def resize(self, width, height, *, dark=False):
        """Lay the page out as a screen of this size, smaller than any window may be, would."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path):
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def pdf(self) -> bytes:
        return base64.b64decode(self._call("POST", "/print", {"background": True}))

    def command(self, name, **parameters):
        """A command of the DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def console(self):
        """What the console said since the last call."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def requests(self):
        """The addresses that were asked for since the last call."""
        entries = self._call("POST", "/se/log", {"type": "performance"})
        events = [json.loads(entry["message"])["message"] for entry in entries]
        wanted = [e for e in events if e["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in wanted]

    def quit(self):
        self._call("DELETE", "")

    def _find(self, selector):
        body = {"using": "css selector", "value": selector}
        return self._call("POST", "/element", body)[ELEMENT]

    def _call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._root + path, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        with self._opener.open(request, timeout=120) as answer:
            return json.loads(answer.read())["value"]


def _port(driver):
    for line in driver.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            return int(found.group(1))
    raise RuntimeError("chromedriver did not start")
