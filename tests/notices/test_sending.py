"""Messages, sent to real receivers by Apprise, and what becomes of those that are not taken."""

from __future__ import annotations

import json
import socket
import ssl
from importlib import import_module
from typing import TYPE_CHECKING

import trustme
from servers import raw_server

from harness import clock
from harness.notices import sending
from harness.notices.message import Message
from harness.notices.places import Place

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    import pytest
    from receivers import Mailbox
    from servers import Web

MESSAGE = Message(
    "[acme/shop] search on compose, main: green -> red",
    (("What changed", "green -> red"), ("Branch", "main, commit 0123")),
    (("failed", "tests/test_a.py::test_x[<a&b>]", "assert 1 == 2 <!channel>"),),
    ("left behind: x",),
    ("the log of app", "first\n    <b>indented</b>\nüñ 漢"),
    "https://ci.example/runs/7",
    "failure",
)
TEXT = """\
What changed: green -> red
Branch: main, commit 0123

failed: tests/test_a.py::test_x[<a&b>]
    assert 1 == 2 <!channel>

left behind: x

The end of the log of app:
first
    <b>indented</b>
üñ 漢

https://ci.example/runs/7"""
TOKENS = "T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


def test_a_mail_has_text_and_html(mailbox: Mailbox) -> None:
    """A mail must have a subject, both parts with all of it, nothing to be fetched, and no secret."""
    assert sending.send_all([(Place("MAIL", mailbox.url), MESSAGE)]) == [""]
    (mail,) = mailbox.mails
    assert mail["Subject"] == MESSAGE.title
    assert (mail["To"], mail["From"].addresses[0].addr_spec) == ("ops@example.org", "ci@example.org")
    assert mail.get_content_type() == "multipart/alternative"
    plain, html = (part.get_content().replace("\r\n", "\n") for part in mail.iter_parts())
    for said in (
        "What changed: green -> red\nBranch: main, commit 0123\n",
        "tests/test_a.py::test_x[<a&b>]",
        "    <b>indented</b>\nüñ 漢",
        "https://ci.example/runs/7",
    ):
        assert said in plain
    assert "<pre>first\n    &lt;b&gt;indented&lt;/b&gt;\nüñ 漢</pre>" in html
    assert '<a href="https://ci.example/runs/7">' in html
    assert not any(word in html for word in ("<img", "src=", "<b>indented", "<!channel"))
    assert "s3cr3t-mail" not in mail.as_string()


def test_a_message_of_slack_calls_nobody(
    hook: Web, monkeypatch: pytest.MonkeyPatch, in_process: Callable[[str, Message], str]
) -> None:
    """Slack must get title, text and colour; what tests print must be no mark-up there and wake no channel."""
    slack = import_module("apprise.plugins.slack").NotifySlack
    monkeypatch.setattr(slack, "webhook_url", f"http://{hook.endpoint}/services")
    assert in_process(f"slack://{TOKENS}/#ops", MESSAGE) == ""
    ((method, path, body),) = hook.asked
    assert (method, path) == ("POST", f"/services/{TOKENS}")
    said = json.loads(body)
    (attachment,) = said["attachments"]
    assert (said["channel"], said["mrkdwn"]) == ("#ops", False)
    assert attachment["title"] == MESSAGE.title.replace(">", "&gt;")
    assert attachment["text"] == TEXT.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert attachment["color"] == "#A32037"
    assert b"github.com" not in body


def test_any_other_receiver_gets_text(hook: Web) -> None:
    """Whatever Apprise speaks must get the same as text."""
    assert sending.send_all([(Place("HOOK", f"json://{hook.endpoint}/h"), MESSAGE)]) == [""]
    ((_, path, body),) = hook.asked
    said = json.loads(body)
    assert (path, said["title"], said["message"], said["type"]) == ("/h", MESSAGE.title, TEXT, "failure")


def test_each_receiver_that_fails_says_why_and_hinders_no_other(mailbox: Mailbox, hook: Web) -> None:
    """One that is down, refuses, answers 500 or is no URL must be told apart, without secrets, and the rest be sent."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        hook.answers[:] = [(500, b"no")]
        places = [
            Place("DOWN", f"json://127.0.0.1:{port}/t0ken-d"),
            Place("BAD", f"json://{hook.endpoint}/t0ken-b"),
            Place("WRONG", mailbox.url.replace("s3cr3t-mail", "wr0ng-word")),
            Place("NONE", "slack://t0ken-n"),
            Place("ODD", "nosuch://t0ken-o"),
            Place("MAIL", mailbox.url),
        ]
        down, bad, wrong, none, odd, mail = sending.send_all([(place, MESSAGE) for place in places])
    assert mail == ""
    assert len(mailbox.mails) == 1
    assert "Connection refused" in down
    assert "500" in bad
    assert "535" in wrong
    assert "Token" in none
    assert odd == "Unparseable URL nosuch://..."
    assert not any("t0ken" in why or "wr0ng" in why for why in (down, bad, wrong, none, odd))


def test_a_certificate_that_is_not_trusted_is_said_in_few_words() -> None:
    """The cause must not be cut off behind all that libraries wrap it in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def serve(connection: socket.socket, _: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True):
            pass

    with raw_server(serve) as port:
        (why,) = sending.send_all([(Place("HOOK", f"jsons://127.0.0.1:{port}/a-long-t0ken-of-somebody"), MESSAGE)])
    assert why.endswith("certificate verify failed: unable to get local issuer certificate")
    assert "t0ken" not in why


def test_one_that_never_answers_costs_no_more_than_its_time() -> None:
    """A receiver that takes the connection and is silent must be given up, with a line that says so."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = Place("SLOW", f"mailto://127.0.0.1:{silent.getsockname()[1]}?from=a@b.cc&to=d@e.ff&rto=60&cto=60")
        began = clock.now()
        assert sending.send_all([(place, MESSAGE)], budget=1) == ["no answer in 1 s"]
        assert clock.now() - began < 1 + sending.LOADING


def test_urls_are_looked_at_without_sending(hook: Web, mailbox: Mailbox) -> None:
    """Whether a URL is of use must be told without a message."""
    places = [Place("A", f"json://{hook.endpoint}"), Place("B", mailbox.url), Place("C", "slack://x")]
    assert [bool(problem) for problem in sending.check_all(places)] == [False, False, True]
    assert (hook.asked, mailbox.mails) == ([], [])
