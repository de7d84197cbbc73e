"""A Chromium without a window, spoken to over two pipes in the DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

from harness import procs
from harness.clock import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
BUDGET = 60.0  # seconds for an answer; other tests have the machine as well
# Chromium reads requests from descriptor 3 and answers on 4, whatever numbers the pipes have here.
_START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(word), fcntl.F_DUPFD, 10) for word in sys.argv[1:3]]
os.dup2(ends[0], 3), os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class BrowserError(Exception):
    """The browser did not do as it was asked, or is gone."""


def installed() -> str:
    """Return the path of a Chromium of this machine, "" when there is none."""
    return next(filter(None, map(shutil.which, NAMES)), "")


class Browser:
    """A browser with one page.

    Attributes:
        problems: what the page has logged as errors, and exceptions that nobody caught.
        requests: URLs that were asked for.
    """

    def __init__(self, program: str, profile: Path) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._ids = itertools.count(1)
        self._session = ""
        self._pending = b""
        self._events: list[dict[str, Any]] = []
        its_in, self._out = os.pipe()
        self._in, its_out = os.pipe()
        flags = ["--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run"]
        flags += ["--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--hide-scrollbars"]
        flags += ["--no-sandbox"] * (os.geteuid() == 0)  # which it refuses to have as root
        start = [sys.executable, "-I", "-S", "-c", _START, str(its_in), str(its_out)]
        with (profile.parent / "chromium.log").open("wb") as log:
            self._process = procs.spawn([*start, program, *flags], output=log, pass_fds=(its_in, its_out))
        os.close(its_in)
        os.close(its_out)
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            self.ask(f"{domain}.enable")
        self.ask("Performance.enable", timeDomain="threadTicks")

    def ask(self, method: str, /, **params: object) -> dict[str, Any]:
        """Send a request and return what is answered. Raises BrowserError."""
        number = next(self._ids)
        session = {"sessionId": self._session} if self._session else {}
        request = {"id": number, "method": method, "params": params, **session}
        with contextlib.suppress(BrokenPipeError):  # that it is gone is told when it does not answer
            os.write(self._out, json.dumps(request).encode() + b"\0")
        for message in self._messages(method):
            if message.get("id") == number:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
        raise BrowserError(f"{method}: not answered")

    def _messages(self, waiting_for: str) -> Iterator[dict[str, Any]]:
        """Yield messages as they come, for so long as there is a budget."""
        deadline = Deadline.after(BUDGET)
        while True:
            while b"\0" in self._pending:
                text, _, self._pending = self._pending.partition(b"\0")
                message = json.loads(text)
                self._note(message)
                yield message
            ready, _, _ = select.select([self._in], [], [], deadline.remaining())
            data = os.read(self._in, 1 << 20) if ready else b""
            if not data:
                raise BrowserError(f"{waiting_for}: {'the browser is gone' if ready else f'nothing in {BUDGET:.0f} s'}")
            self._pending += data

    def _note(self, message: Mapping[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.problems.append(str(details.get("exception", {}).get("description") or details["text"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.problems.append(str([each.get("value", each.get("description")) for each in params["args"]]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.problems.append(str(params["entry"]["text"]))
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])

    def open(self, url: str) -> None:
        """Go to a page and wait until it has loaded."""
        self.ask("Page.navigate", url="about:blank")
        self.problems.clear()
        self.requests.clear()
        self.ask("Page.navigate", url=url)
        self.run("new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', done))")

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page, of a promise what it comes to. Raises BrowserError."""
        answer = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, condition: str) -> Any:
        """Return the value of an expression in the page as soon as it is true. Raises BrowserError if it never is."""
        script = (
            f"new Promise((done, no) => {{ const end = performance.now() + {BUDGET * 900}; (function turn() {{"
            f" const value = {condition}; if (value) done(value);"
            f" else if (performance.now() > end) no(new Error('did not come true'));"
            f" else requestAnimationFrame(turn) }})() }})"
        )
        return self.run(script)

    def size(self, width: int, height: int) -> None:
        """Have the page that large."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def colours(self, scheme: str) -> None:
        """Have a system that is ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media="screen", features=features)

    def key(self, name: str) -> None:
        """Press and release a key, by its name in DOM events."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        key: dict[str, Any] = {"key": name, "code": name, "windowsVirtualKeyCode": codes[name]}
        text = {"text": "\r"} if name == "Enter" else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **key, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **key)

    def click(self, selector: str) -> None:
        """Click in the middle of the first element that a selector finds, as a mouse would."""
        found = json.dumps(selector)
        x, y = self.run(
            f"(() => {{ const found = document.querySelector({found}); found.scrollIntoView({{block: 'center'}});"
            f" const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2] }})()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose_file(self, selector: str, path: Path) -> None:
        """Give a file to an element that takes one."""
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        node = self.ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as a PNG."""
        answer = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        """End it."""
        self._session = ""
        with contextlib.suppress(BrowserError):
            self.ask("Browser.close")
        os.close(self._out)
        os.close(self._in)
        if not procs.wait_gone(self._process.pid, procs.start_time_of(self._process.pid) or 0, 10):
            procs.kill_group(self._process.pid, signal.SIGKILL)
        self._process.wait()
