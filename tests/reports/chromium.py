"""Headless Chromium spoken to over its own pipe: no driver, no socket. Tests skip where there is none.

The network is off for it in three ways: no proxy answers, emulated offline, and every request is recorded.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--mute-audio",
    "--remote-debugging-pipe",
    "--proxy-server=127.0.0.1:9",
    "--window-size=1280,1000",
)
LIMIT_S = 120.0


def find_chromium() -> str | None:
    """The program, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Chromium:
    """One browser with one page. home: a folder for what pages keep, which stays; without one nothing does."""

    def __init__(self, home: Path | None = None) -> None:
        program = find_chromium()
        assert program is not None
        self._keeps = home is not None
        self._home = str(home) if home else tempfile.mkdtemp(prefix="chromium-")
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()

        def place() -> None:
            os.dup2(to_read, 3)
            os.dup2(to_write, 4)

        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={self._home}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(3, 4),
            preexec_fn=place,
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_write)
        self._left = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        targets = self._ask("Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self._ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)

    def open(self, path: Path) -> None:
        """Load a file and wait until it is there."""
        self.events.clear()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        self.wait_for("Page.loadEventFired")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command to the page."""
        return self._ask(method, self._session, **parameters)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"].get("exception", {}).get("description") or found)
        return found["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key down and up, as a keyboard gives it."""
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **about)

    def run_until(self, script: str) -> None:
        """Until an expression is true in the page."""
        until = time.monotonic() + LIMIT_S
        while not self.run(script):
            assert time.monotonic() < until, f"never true: {script}"
            time.sleep(0.05)

    def media(self, **features: str) -> None:
        """Emulate media: `media="print"`, or features such as prefers_color_scheme="dark"."""
        kind = features.pop("media", "")
        pairs = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.ask("Emulation.setEmulatedMedia", media=kind, features=pairs)

    def requests(self) -> list[str]:
        """Addresses that the page asked for, data URIs aside."""
        sent = [one["params"]["request"]["url"] for one in self.events if one["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "blob:"))]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, violations of the content policy."""
        found = []
        for one in self.events:
            about = one.get("params", {})
            if one["method"] == "Runtime.exceptionThrown":
                found.append(str(about["exceptionDetails"].get("text")))
            elif one["method"] == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
                found.append(str(about["args"]))
            elif one["method"] == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
                found.append(str(about["entry"]["text"]))
        return found

    def wait_for(self, method: str) -> None:
        """Until an event has come."""
        until = time.monotonic() + LIMIT_S
        while not any(one["method"] == method for one in self.events):
            assert time.monotonic() < until, f"{method} did not come"
            self._read()

    def close(self) -> None:
        """End the browser with all its processes; what a home is to keep is on the disk then."""
        if self._keeps:
            with contextlib.suppress(OSError, AssertionError):  # it may be faster than its answer
                self._ask("Browser.close")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=LIMIT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
        if not self._keeps:
            shutil.rmtree(self._home, ignore_errors=True)

    def _ask(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            answer = self._read(self._number)
            if answer is not None:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
        raise AssertionError(f"{method} was not answered")

    def _read(self, number: int = 0) -> dict[str, Any] | None:
        """Take in what has come; gives the answer to command `number` if it is there."""
        if b"\0" not in self._left:
            piece = os.read(self._in, 1 << 20)
            assert piece, "the browser has ended"
            self._left += piece
        found = None
        while b"\0" in self._left and found is None:
            text, _, self._left = self._left.partition(b"\0")
            message = json.loads(text)
            if message.get("id") == number and number:
                found = message
            elif "method" in message:
                self.events.append(message)
        return found
