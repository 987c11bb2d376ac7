"""A headless Chromium behind ChromeDriver, in the WebDriver protocol: what the tests and measurements of pages need."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

READY = "return document.getElementById('flip-app').dataset.ready === 'true'"
# Sets a filter as a user does and gives the milliseconds until the list and the count show the outcome.
FILTER = """
const element = document.getElementById('filter-' + arguments[0]), start = performance.now();
element.value = arguments[1];
element.dispatchEvent(new Event(arguments[0] === 'search' ? 'input' : 'change', {bubbles: true}));
document.getElementById('flip-list').getBoundingClientRect();
return performance.now() - start;
"""


class Browser:
    """A Chromium of its own behind ChromeDriver, in the WebDriver protocol."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._driver = subprocess.Popen(
            [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._place = f"http://127.0.0.1:{port}"
        options = {
            "binary": CHROMIUM,
            "args": [
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--disable-background-networking", "--window-size=1280,900", f"--user-data-dir={folder}"),
            ],
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "unhandledPromptBehavior": "ignore",
        }
        self._session = ""
        try:
            self._wait()
            begun = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self.close()
            raise
        self._session = f"/session/{begun['sessionId']}"

    def _wait(self) -> None:
        for _ in range(300):
            try:
                self._call("GET", "/status")
                return
            except urllib.error.URLError:
                time.sleep(0.1)
        raise RuntimeError("chromedriver did not start")

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self._place + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return json.loads(answer.read())["value"]

    def open(self, path: Path) -> None:
        """Load a page and wait until the flip browser in it is ready."""
        self._call("POST", f"{self._session}/url", {"url": path.as_uri()})
        for _ in range(600):
            if self.run(READY):
                return
            time.sleep(0.02)
        raise RuntimeError("the flip browser was not ready within 12 s")

    def run(self, script: str, *values: Any) -> Any:
        """What a script gives."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": list(values)})

    def run_async(self, script: str, *values: Any) -> Any:
        """What a script hands to its last argument."""
        return self._call("POST", f"{self._session}/execute/async", {"script": script, "args": list(values)})

    def show(self, width: int, scheme: str) -> None:
        """Set the width in CSS pixels and the colour scheme."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self._cdp("Emulation.setDeviceMetricsOverride", size)
        self._cdp("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def _cdp(self, command: str, values: Any) -> Any:
        return self._call("POST", f"{self._session}/goog/cdp/execute", {"cmd": command, "params": values})

    def picture(self, path: Path) -> None:
        """Write a screenshot of the whole page as PNG."""
        width, height = self.run("const e = document.documentElement; return [e.scrollWidth, e.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self._cdp("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "clip": clip})
        path.write_bytes(base64.b64decode(shot["data"]))

    def requests(self) -> list[str]:
        """The addresses asked for since the log was last read, without `data:` and the browser's own pages."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "chrome:"))]

    def log(self, kind: str) -> list[dict[str, Any]]:
        """The log of a kind since it was last read."""
        found: list[dict[str, Any]] = self._call("POST", f"{self._session}/se/log", {"type": kind})
        return found

    def press(self, key: str, selector: str) -> None:
        """Press a key on an element."""
        found = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        self._call("POST", f"{self._session}/element/{next(iter(found.values()))}/value", {"text": key})

    def close(self) -> None:
        """End the browser and its driver."""
        try:
            if self._session:
                self._call("DELETE", self._session)
        finally:
            self._driver.terminate()
            self._driver.wait(20)
