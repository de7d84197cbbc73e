"""Runs that end, one after the other: who is told what, once, whatever happens to those who are told."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.config import Sources, load_settings
from harness.notices import memory, telling
from harness.notices.telling import Ended
from harness.results import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from receivers import Mailbox
    from servers import Web

    from harness.config import Settings
    from harness.notices.message import Message
    from harness.notices.places import Place


@dataclass
class Post:
    """Takes messages in place of Apprise, or refuses them.

    Attributes:
        down: names of places that take nothing.
        got: name of the place and message, in order.
    """

    down: set[str] = field(default_factory=set)
    got: list[tuple[str, Message]] = field(default_factory=list)

    def __call__(self, messages: Sequence[tuple[Place, Message]]) -> list[str]:
        """Take what can be taken."""
        self.got += [(place.name, message) for place, message in messages if place.name not in self.down]
        return ["Connection refused" if place.name in self.down else "" for place, _ in messages]

    def told(self) -> list[str]:
        """Return who was told what changed since this was last asked, in few words."""
        told = [f"{name}: {message.title.rpartition(': ')[2]}" for name, message in self.got]
        self.got.clear()
        return told


ENVIRON = {"GITHUB_REF_NAME": "main", "GITHUB_SHA": "0123456789abcdef", "DB_PASSWORD": "hunter2!"}
MAIL, HOOK = "mailto://me:s3cr3t@mail.example.org:25?to=a@b.cc", "json://hook.example.org/t0ken"


def settings_of(root: Path, urls: dict[str, str], **table: Any) -> Settings:
    """Return the settings of a project whose notices go to ``urls``."""
    notices = {"urls": list(urls) or ["MAIL"], **table}
    table = {"notices": notices, "notices-state": "state/notices.json"}
    return load_settings(Sources({**ENVIRON, **urls}, root, table))


LATER = "it is tried again at the end of the next run"
NO_URL = "has no URL such as mailtos://USER:PASSWORD@HOST?to=WHO; nothing goes there"
GREEN = Ended(0)
RED = Ended(1, outcomes=(Outcome("t.py::test_a", "failed", 1, "AssertionError", "assert 1 == 2"),))
BROKEN = Ended(12, outcomes=(Outcome("t.py::test_a", "broken", 1, "BrokenStack", "Service 'db' ended"),))


def flaky(*tests: str, code: int = 0) -> Ended:
    """Return a run with tests that were flaky."""
    return Ended(code, facts={"flaky": [{"test": test, "line": f"why {test}"} for test in tests]})


def lapsed(*tests: str) -> Ended:
    """Return a run that found lapsed entries of the quarantine."""
    entries = [{"test": test, "owner": "me", "reason": "slow", "expires": "2026-01-31"} for test in tests]
    return Ended(0, facts={"lapsed": entries})


def test_each_change_is_told_once(tmp_path: Path) -> None:
    """Only what changes must be told, once to each, and interrupted runs must change nothing."""
    settings, post = settings_of(tmp_path, {"MAIL": MAIL, "HOOK": HOOK}), Post()
    expected = [
        (GREEN, ""),
        (GREEN, ""),
        (RED, "green -> red"),
        (RED, ""),
        (Ended(130), ""),
        (Ended(2), ""),
        (replace(RED, outcomes=(Outcome("t.py::test_b", "failed"),)), ""),
        (BROKEN, "red -> broken"),
        (BROKEN, ""),
        (GREEN, "broken -> green"),
        (flaky("x"), "1 new flake"),
        (flaky("x"), ""),
        (GREEN, ""),
        (flaky("x", "y", code=1), "green -> red, 1 new flake"),
        (GREEN, "red -> green"),
        (lapsed("q"), "1 lapsed quarantine"),
        (lapsed("q"), ""),
        (Ended(2, errors=(("t.py", "ImportError: x"),)), "green -> broken"),
        (Ended(-9), ""),
        (GREEN, "broken -> green"),
        (Ended(14), "green -> red"),
    ]
    for number, (ended, sentence) in enumerate(expected):
        lines = telling.tell(settings, ended, post)
        assert post.told() == ([f"MAIL: {sentence}", f"HOOK: {sentence}"] if sentence else []), number
        assert lines == ([f"notice sent to MAIL, HOOK: {sentence}"] if sentence else []), number


def test_the_first_red_run_is_told(tmp_path: Path) -> None:
    """A project that is red from its first run on must be told of."""
    post = Post()
    telling.tell(settings_of(tmp_path, {"MAIL": MAIL}), RED, post)
    assert post.told() == ["MAIL: green -> red"]


def test_what_could_not_be_sent_is_sent_by_the_next_run(tmp_path: Path) -> None:
    """A place that was down must get it at the end of the next run, the other not again, and a line say so."""
    settings, post = settings_of(tmp_path, {"MAIL": MAIL, "HOOK": HOOK}), Post(down={"MAIL"})
    assert telling.tell(settings, RED, post) == [
        f"notices: MAIL (mailto://mail.example.org:25...) was not reached: Connection refused; {LATER}",
        "notice sent to HOOK: green -> red",
    ]
    assert post.told() == ["HOOK: green -> red"]
    post.down.clear()
    later = replace(RED, outcomes=(Outcome("t.py::test_later", "failed"),))
    assert telling.tell(settings, later, post) == ["notice sent to MAIL: green -> red"]
    ((name, message),) = post.got
    assert (name, message.tests[0][1]) == ("MAIL", "t.py::test_a")  # the message that was kept
    post.got.clear()
    assert telling.tell(settings, RED, post) == []
    assert post.told() == []


def test_what_flipped_back_meanwhile_is_not_sent(tmp_path: Path) -> None:
    """Who was down while it was red must hear nothing of it, and who heard of it must hear that it is over."""
    settings, post = settings_of(tmp_path, {"MAIL": MAIL, "HOOK": HOOK}), Post(down={"MAIL"})
    telling.tell(settings, RED, post)
    post.down.clear()
    post.got.clear()
    assert telling.tell(settings, GREEN, post) == [
        "notices: what MAIL had not got (green -> red) is no news any more",
        "notice sent to HOOK: red -> green",
    ]
    assert post.told() == ["HOOK: red -> green"]


def test_another_system_of_the_project_sends_what_waits(tmp_path: Path) -> None:
    """Whatever run ends next must send what is kept, also of another part of the project."""
    settings, post = settings_of(tmp_path, {"MAIL": MAIL}), Post(down={"MAIL"})
    telling.tell(settings, RED, post)
    post.down.clear()
    telling.tell(settings, replace(GREEN, words="-k other"), post)
    assert post.told() == ["MAIL: green -> red"]


def test_two_runs_that_end_at_once_send_one_notice(tmp_path: Path) -> None:
    """Of runs that see the same change at the same time one must tell it, and none be lost."""
    settings, post = settings_of(tmp_path, {"MAIL": MAIL}), Post()
    barrier = threading.Barrier(4)
    lines: list[str] = []

    def end() -> None:
        barrier.wait()
        lines.extend(telling.tell(settings, RED, post))

    threads = [threading.Thread(target=end) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert post.told() == ["MAIL: green -> red"]
    assert lines == ["notice sent to MAIL: green -> red"]


@pytest.mark.parametrize("error", [RuntimeError("what"), OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_nothing_that_goes_wrong_gets_out(error: BaseException, tmp_path: Path) -> None:
    """Whatever happens while a notice is sent must be a line, and what was not sent be kept."""

    def send(_: object) -> list[str]:
        raise error

    settings = settings_of(tmp_path, {"MAIL": MAIL})
    (line,) = telling.tell(settings, RED, send)
    assert line.startswith("notices: ")
    assert [entry.to for entry in memory.read(settings.notices_state).outbox] == ["MAIL"]


def test_a_state_that_cannot_be_written_is_a_line(tmp_path: Path) -> None:
    """A file where the state's folder should be must be told, and hinder nothing."""
    (tmp_path / "state").write_text("")
    (line,) = telling.tell(settings_of(tmp_path, {"MAIL": MAIL}), RED, Post())
    assert line.startswith(f"notices: {tmp_path / 'state'}: ")


def test_a_damaged_state_is_told_and_begun_anew(tmp_path: Path) -> None:
    """What was known is lost then: red is told again, and the file is kept aside."""
    settings, post = settings_of(tmp_path, {"MAIL": MAIL}), Post()
    telling.tell(settings, RED, post)
    settings.notices_state.write_text("{")
    post.got.clear()
    told, sent = telling.tell(settings, RED, post)
    assert "cannot be read" in told
    assert (sent, post.told()) == ("notice sent to MAIL: green -> red", ["MAIL: green -> red"])


@pytest.mark.parametrize(
    ("urls", "lines"),
    [
        ({"MAIL": ""}, []),
        ({"MAIL": "hunter2!"}, [f"notices: MAIL {NO_URL}"]),
        ({"MAIL": "", "HOOK": HOOK}, ["notices: variable MAIL is not set, so nothing goes there",
                                      "notice sent to HOOK: green -> red"]),
    ],
)  # fmt: skip
def test_those_who_cannot_be_told(urls: dict[str, str], lines: list[str], tmp_path: Path) -> None:
    """Where no variable is set nothing must be said or written; a malformed URL must be said, without showing it."""
    settings = settings_of(tmp_path, urls)
    assert telling.tell(settings, RED, Post()) == lines
    assert settings.notices_state.exists() == ("HOOK" in urls)


# -- what a message says -----------------------------------------------------------------------------------------------


@pytest.fixture
def ended(tmp_path: Path) -> Ended:
    """A red run with a folder, and secrets in all that it wrote."""
    folder = tmp_path / "logs" / "20260101-000000-abcd"
    failure = folder / "failures" / "suite.test_it.py.test_bad"
    failure.mkdir(parents=True)
    (failure / "app.log").write_bytes(b"GET / 200\n")
    (failure / "web.log").write_bytes(
        b"connecting postgresql://u:pgpass99@db\nERROR: login with hunter2! failed \x1b[31m\xff\n"
    )
    (folder / "services").mkdir()
    (folder / "services" / "db.log").write_bytes(b"old\nFATAL: out of memory\n")
    outcomes = [
        Outcome("suite/test_it.py::test_good", "succeeded"),
        Outcome("suite/test_it.py::test_bad", "failed", 1, "AssertionError", "assert 'hunter2!' == 'x'"),
        *(Outcome(f"suite/test_it.py::test_{number}", "failed", message="also") for number in range(9)),
    ]
    facts = {"engine": "embedded", "outcomes": {"failed": 10, "succeeded": 1},
             "services": {"db": {"log": "services/db.log", "start": 4, "end": None}}}  # fmt: skip
    return Ended(1, folder, facts, outcomes)


def written(settings: Settings, ended: Ended) -> Message:
    """Return the message about a run."""
    post = Post()
    telling.tell(settings, ended, post)
    ((_, message),) = post.got
    return message


def test_a_message_tells_what_is_needed(ended: Ended, tmp_path: Path) -> None:
    """It must tell project, branch, engine, what changed, some failed tests with first lines, a log and the folder."""
    message = written(settings_of(tmp_path, {"MAIL": MAIL}), ended)
    assert message.title == f"[{tmp_path.name}] tests on embedded, main: green -> red"
    assert message.text() == "\n".join(
        [
            "What changed: green -> red",
            "Why: tests failed",
            "Branch: main, commit 0123456789ab",
            "Engine: embedded",
            "Tests: 10 failed, 1 succeeded",
            "Run: 20260101-000000-abcd",
            "",
            "failed: suite/test_it.py::test_bad",
            "    assert '***' == 'x'",
            "",
            *(line for number in range(4) for line in (f"failed: suite/test_it.py::test_{number}", "    also", "")),
            "and 5 more tests",
            "",
            "The end of the log of web, during suite/test_it.py::test_bad:",
            "connecting postgresql://***@db",
            "ERROR: login with *** failed \\x1b[31m\\xff",
            "",
            str(ended.folder),
        ]
    )
    assert message.kind == "failure"


@pytest.mark.parametrize(
    ("words", "part"), [("-k order", "-k order"), ("-k " + " or ".join("abcdefghijklmnop"), "a part")]
)
def test_a_title_says_that_it_is_about_a_part(words: str, part: str, ended: Ended, tmp_path: Path) -> None:
    """Who reads a title only must not take a part that is red for the suite."""
    told = written(settings_of(tmp_path, {"MAIL": MAIL}), replace(ended, words=words))
    assert told.title == f"[{tmp_path.name}] tests ({part}) on embedded, main: green -> red"
    assert ("Only", words) in told.facts


def test_a_broken_run_has_the_log_of_its_service(ended: Ended, tmp_path: Path) -> None:
    """Where the error names a service its log must be shown, from where the run began."""
    outcomes = [
        Outcome("t.py::a", "failed"),
        Outcome("t.py::b", "broken", message="Service 'db' ended with exit code 3"),
    ]
    message = written(settings_of(tmp_path, {"MAIL": MAIL}), replace(ended, code=12, outcomes=outcomes))
    assert message.tests[0] == ("broken", "t.py::b", "Service 'db' ended with exit code 3")
    assert message.log == ("the log of db", "FATAL: out of memory")
    assert dict(message.facts)["Why"] == "a stack did not settle or broke under a test"


@pytest.mark.parametrize(
    ("environ", "runs", "link"),
    [
        ({}, "https://ci.example/logs/", "https://ci.example/logs/20260101-000000-abcd/"),
        ({"GITHUB_RUN_ID": "7", "GITHUB_REPOSITORY": "acme/shop"}, "", "https://github.com/acme/shop/actions/runs/7"),
        ({"CI_JOB_URL": "https://gitlab.example/j/1"}, "", "https://gitlab.example/j/1"),
        ({"CIRCLE_BUILD_URL": "https://circle.example/1"}, "", "https://circle.example/1"),
    ],
)
def test_a_message_has_a_link_to_the_run(
    environ: dict[str, str], runs: str, link: str, ended: Ended, tmp_path: Path
) -> None:
    """The link must go where the run can be seen: where it was configured, or the CI service's page."""
    settings = settings_of(tmp_path, {"MAIL": MAIL}, runs=runs)
    settings = replace(settings, environ={**settings.environ, **environ})
    assert written(settings, ended).link == link


def test_nothing_is_longer_than_it_may_be(ended: Ended, tmp_path: Path) -> None:
    """However much a test says, a message must stay short, and no part of a secret stay at a cut."""
    assert ended.folder is not None
    log = ended.folder / "failures" / "suite.test_it.py.test_bad" / "web.log"
    log.write_text("\n".join(f"ERROR hunter2! {'x' * 1000}" for _ in range(1000)))
    bad = Outcome("suite/test_it.py::test_bad", "failed", message="hunter2!" * 100_000)
    message = written(settings_of(tmp_path, {"MAIL": MAIL}), replace(ended, outcomes=[bad] * 50))
    assert len(message.text()) < 8000
    assert len(json.dumps(message.as_dict(), ensure_ascii=False).encode()) < 1 << 15
    assert "hunter" not in message.text() + message.html()


def test_no_secret_of_a_stack_is_told(tmp_path: Path, ended: Ended) -> None:
    """Passwords that a stack's services are given, and its secrets, must be known as such."""
    (tmp_path / "compose").mkdir()
    (tmp_path / "word").write_text("fr0m-file\n")
    (tmp_path / "compose" / "s.yaml").write_text(
        "name: s\nservices:\n  db:\n    image: x\n    environment: {POSTGRES_PASSWORD: pg-w0rd}\n    secrets: [word]\n"
        "secrets: {word: {file: ../word}}\n"
    )
    bad = Outcome("t.py::t", "failed", message="pg-w0rd fr0m-file me s3cr3t t0ken")
    message = written(settings_of(tmp_path, {"MAIL": MAIL}), replace(ended, outcomes=[bad]))
    assert message.tests[0][2] == "*** *** me *** t0ken"


def test_flakes_and_lapsed_quarantines_are_named(tmp_path: Path) -> None:
    """Which test is flaky and why, and whose quarantine is over, must be said."""
    run = replace(flaky("t.py::x"), facts={**flaky("t.py::x").facts, **lapsed("t.py::q").facts})
    message = written(settings_of(tmp_path, {"MAIL": MAIL}), run)
    assert message.title.endswith(": 1 new flake, 1 lapsed quarantine")
    assert message.tests == (("flaky", "t.py::x", "why t.py::x"),)
    assert message.more == ("lapsed, so that they count again: t.py::q (me, until 2026-01-31: slow)",)
    assert message.kind == "warning"


# -- real receivers ----------------------------------------------------------------------------------------------------


def test_runs_are_told_to_real_receivers(
    tmp_path: Path, mailbox: Mailbox, hook: Web, in_process: Callable[[str, Message], str]
) -> None:
    """Runs that change something must be one mail and one webhook each, the others none; a 500 is tried again."""
    settings = settings_of(tmp_path, {"MAIL": mailbox.url, "HOOK": f"json://{hook.endpoint}/t0ken"})

    def send(messages: Sequence[tuple[Place, Message]]) -> list[str]:
        return [in_process(place.url, message) for place, message in messages]

    counts = []
    for ended in (GREEN, RED, RED, GREEN, GREEN):
        telling.tell(settings, ended, send)
        counts.append((len(mailbox.mails), len(hook.asked)))
    assert counts == [(0, 0), (1, 1), (1, 1), (2, 2), (2, 2)]
    hook.answers[:] = [(500, b"no"), (200, b"ok")]
    (line, sent) = telling.tell(settings, RED, send)
    assert line.startswith(f"notices: HOOK (json://{hook.endpoint}...) was not reached: ")
    assert "500" in line
    assert "t0ken" not in line
    assert sent == "notice sent to MAIL: green -> red"
    assert telling.tell(settings, RED, send) == ["notice sent to HOOK: green -> red"]
    assert (len(mailbox.mails), len(hook.asked)) == (3, 4)
    subjects = [str(mail["Subject"]).rpartition(": ")[2] for mail in mailbox.mails]
    assert subjects == ["green -> red", "red -> green", "green -> red"]
