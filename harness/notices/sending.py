"""Sends messages by Apprise, in a process of its own that is ended when its time is up.

So a receiver that is slow costs no more than that, warnings and log records of libraries stay out of a test session,
and Apprise is loaded only where something is sent. URLs are given by a pipe: they are in no argument and no variable.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from harness import procs
from harness.clock import Deadline, poll
from harness.notices.message import Message
from harness.notices.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.notices.places import Place

BUDGET = 10.0  # seconds for all messages, which are sent at once
LOADING = 20.0  # more, at most, for Apprise to be loaded: new on a slow machine, all that it knows is compiled first
INSTALL = "pip install 'integration-harness[notices]'"
_CAUSE = re.compile(r"\[(?:Errno -?\d+|SSL: \w+)\] ([^\"'()]+)")
_URLS = re.compile(r"\b([a-z][a-z0-9+.-]*://)\S+", re.IGNORECASE)
_WHY = 200  # characters


def is_installed() -> bool:
    """Return whether Apprise is."""
    return find_spec("apprise") is not None


def send_all(messages: Sequence[tuple[Place, Message]], budget: float = BUDGET) -> list[str]:
    """Send messages at once; return for each why it was not taken, "" when it was."""
    places: dict[Message, list[Place]] = {}
    for place, message in messages:
        places.setdefault(message, []).append(place)
    with ThreadPoolExecutor(max_workers=max(1, len(places)), thread_name_prefix="harness-notice") as pool:
        asked = {message: pool.submit(_ask, to, message, budget) for message, to in places.items()}
    problems = {message: dict(zip(places[message], future.result(), strict=True)) for message, future in asked.items()}
    return [problems[message][place] for place, message in messages]


def check_all(places: Sequence[Place], budget: float = BUDGET) -> list[str]:
    """Return for each place why its URL is of no use to Apprise, "" when it is; nothing is sent."""
    return _ask(places, None, budget) if places else []


def _ask(places: Sequence[Place], message: Message | None, budget: float) -> list[str]:
    """Have a process of its own send a message; return for each place why it was not taken."""
    if not is_installed():
        return [f"Apprise is not installed: {INSTALL}"] * len(places)
    urls = [place.url for place in places]
    request = {"urls": urls, "message": message.as_dict() if message else None, "budget": budget}
    argv = [sys.executable, "-P", "-m", __name__]
    done = procs.run(argv, timeout=budget + LOADING, given=json.dumps(request, ensure_ascii=False))
    told: dict[int, str] = {}
    for line in done.stdout.splitlines():
        with suppress(KeyError, TypeError, ValueError):
            answer = json.loads(line)
            told[int(answer["place"])] = str(answer["problem"])
    otherwise = f"no answer in {budget:g} s" if done.code in (0, None) else f"Apprise: {done.ending(budget)}"
    said = [" ".join(told.get(number, otherwise).split()) for number in range(len(places))]
    clean = [Redactor(place.secrets).clean(_URLS.sub(r"\1...", why)) for place, why in zip(places, said, strict=True)]
    return [why[:_WHY] for why in clean]


# -- the process that sends --------------------------------------------------------------------------------------------


class _Heard(logging.Handler):
    """Keeps what Apprise says when something goes wrong: it returns no reason."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if record.levelno >= logging.WARNING or "Exception: " in line:
            cause = _CAUSE.search(line)  # of what is wrapped in the errors of several libraries
            self.lines += [cause[1].strip()] if cause else line.splitlines()[:1]


def deliver(url: str, message: Message | None) -> str:
    """Send a message in this process, or only look whether it could be; return what kept it from that, "" for nothing.

    Args:
        url: of Apprise.
        message: None to send nothing.
    """
    import apprise  # noqa: PLC0415 - takes a second, with all that it knows

    heard, logger = _Heard(), logging.getLogger("apprise")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(heard)
    # No address of others in a message: neither their logo nor their page.
    nobody = {"app_url": "", "image_url_mask": "", "image_url_logo": ""}
    asset = apprise.AppriseAsset(app_id="harness", app_desc="harness", async_mode=False, **nobody)
    try:
        notify = apprise.Apprise(asset=asset)
        if not notify.add(url):
            return " ".join(heard.lines[:1]) or "it is no URL that Apprise knows"
        if message is None:
            return ""
        as_html = url.partition("://")[0].lower() in ("mailto", "mailtos")
        body = message.html() if as_html else message.text()
        form = apprise.NotifyFormat.HTML if as_html else apprise.NotifyFormat.TEXT
        kind = apprise.NotifyType(message.kind)
        if notify.notify(body=body, title=message.title, body_format=form, notify_type=kind):
            return ""
        return "; ".join(heard.lines) or "it was not taken"
    finally:
        logger.removeHandler(heard)


def main() -> None:
    """Do what standard input asks for, and say on standard output what kept it from that, a line for each URL."""
    request: dict[str, Any] = json.loads(sys.stdin.read())
    message = Message.from_dict(request["message"]) if request["message"] is not None else None

    deliver("json://127.0.0.1", None)  # has everything loaded, once
    senders = {_send_aside(number, url, message) for number, url in enumerate(request["urls"])}
    for _ in poll(Deadline.after(float(request["budget"]))):
        senders -= {pid for pid in senders if os.waitpid(pid, os.WNOHANG)[0]}
        if not senders:
            return
    for pid in senders:
        os.kill(pid, signal.SIGKILL)


def _send_aside(number: int, url: str, message: Message | None) -> int:
    """Send a message in a process of its own, by which alone it can be told whose the words are that Apprise logs."""
    if pid := os.fork():  # there is one thread here
        return pid
    try:
        problem = deliver(url, message)
    except Exception as error:  # noqa: BLE001 - whatever a plugin of Apprise trips over: told, without its values
        problem = f"{type(error).__name__} in Apprise"
    os.write(1, (json.dumps({"place": number, "problem": problem[: _WHY * 5]}) + "\n").encode())
    os._exit(0)


if __name__ == "__main__":
    main()
