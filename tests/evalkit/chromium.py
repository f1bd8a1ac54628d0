"""A headless Chromium driven through its debugging pipe: no driver, no package, no network."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
KEYS = {
    "Enter": ("Enter", 13, "\r"),
    "Backspace": ("Backspace", 8, ""),
    "Tab": ("Tab", 9, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
}


def find_chromium() -> str | None:
    """The browser's program, if there is one; CHROMIUM names another."""
    wanted = os.environ.get("CHROMIUM")
    return wanted or next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab. Events that it must not have are collected: requests beyond files and data, and console errors."""

    def __init__(self, send: Callable[..., dict[str, Any]]) -> None:
        self._send = send
        self.requests: list[str] = []
        self.errors: list[str] = []

    def open(self, path: Path) -> None:
        """Load a file and wait for it."""
        self._send("Page.navigate", url=path.resolve().as_uri())
        self.wait_for("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What an expression gives in the page."""
        found = self._send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 30.0) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.value(expression):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s: {expression}")
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        """Real key presses, as a keyboard makes them."""
        for key in keys:
            name, code, text = KEYS[key] if key in KEYS else (key, ord(key.upper()), key)
            event = {"key": name, "windowsVirtualKeyCode": code, "code": name}
            self._send("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
            self._send("Input.dispatchKeyEvent", type="keyUp", **event)


class Browser:
    """The process and the pipe to it."""

    def __init__(self, program: str, profile: Path) -> None:
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        os.set_inheritable(to_read, True)
        os.set_inheritable(to_write, True)

        def place() -> None:  # the browser reads from 3 and writes to 4
            a, b = os.dup(to_read), os.dup(to_write)
            os.dup2(a, 3)
            os.dup2(b, 4)

        words = [
            program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-sandbox",
            "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--mute-audio", "--autoplay-policy=no-user-gesture-required",
            # The network is off: every name leads nowhere.
            "--host-resolver-rules=MAP * ~NOTFOUND", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            words, close_fds=False, preexec_fn=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer, self._number, self._session = b"", 0, ""
        self._page = Page(self._command)
        targets = self._command("Target.getTargets")["targetInfos"]
        tab = next(one for one in targets if one["type"] == "page")
        self._session = self._command("Target.attachToTarget", targetId=tab["targetId"], flatten=True)["sessionId"]
        for name in ("Page", "Runtime", "Network", "Log"):
            self._command(f"{name}.enable")

    @property
    def page(self) -> Page:
        return self._page

    def close(self) -> None:
        """End the browser; what it keeps for later visits is on the disk then."""
        self._session = ""
        with contextlib.suppress(OSError, AssertionError):  # it may be faster than its answer
            self._command("Browser.close")
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def _command(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == self._number:
                assert "error" not in found, f"{method}: {found['error']}"
                result: dict[str, Any] = found["result"]
                return result
            self._note(found)

    def _note(self, event: dict[str, Any]) -> None:
        method, found = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            url = found["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "about:")):
                self._page.requests.append(url)
        elif method == "Runtime.exceptionThrown":
            self._page.errors.append(str(found["exceptionDetails"].get("exception", {}).get("description")))
        elif method == "Log.entryAdded" and found["entry"]["level"] == "error":
            self._page.errors.append(found["entry"]["text"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], 120)
            assert ready, "the browser does not answer"
            data = os.read(self._from, 1 << 16)
            assert data, "the browser is gone"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        content: dict[str, Any] = json.loads(line)
        return content


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A page of a new browser process that uses (and keeps) the profile folder."""
    program = find_chromium()
    assert program is not None
    opened = Browser(program, profile)
    try:
        yield opened.page
    finally:
        opened.close()
