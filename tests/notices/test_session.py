"""Whole sessions of pytest whose ends are told, and the task that shows who is told."""

from __future__ import annotations

import json
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
from projects import Project, run_in, web

if TYPE_CHECKING:
    from receivers import Mailbox
    from servers import Web

    from harness import procs

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
CONFTEST = """
import harness
web = harness.stack_fixture("s", scope="session")
"""
GOOD, BAD = "def test_it(web): pass\n", "def test_it(web): assert 1 == 2\n"


@pytest.fixture
def told(project: Project) -> Project:
    """A project with a suite, whose notices go to what NOTICE_HOOK and NOTICE_MAIL have."""
    (project.root / "pyproject.toml").write_text(
        '[tool.harness]\nnotices-state = "notices.json"\n'
        '[tool.harness.notices]\nurls = ["NOTICE_HOOK", "NOTICE_MAIL"]\n'
    )
    project.environ = {name: value for name, value in project.environ.items() if not name.startswith(("CI", "HTTP"))}
    project.environ |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    project.stack("s", {"web": web(words=("say:ERROR hello",))})
    (project.root / "suite").mkdir()
    (project.root / "suite" / "conftest.py").write_text(CONFTEST)
    return project


def session(project: Project, tests: str, *words: str) -> procs.Finished:
    """Run pytest on these tests."""
    (project.root / "suite" / "test_it.py").write_text(tests)
    return run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "suite", *words)


def messages(hook: Web) -> list[dict[str, Any]]:
    """Return what a webhook got."""
    return [json.loads(body) for _, _, body in hook.asked]


def test_sessions_tell_what_changes(told: Project, hook: Web, mailbox: Mailbox) -> None:
    """Of five sessions the two that change something must be told, once to each, and a session of a part be another."""
    told.environ |= {"NOTICE_HOOK": f"json://{hook.endpoint}/t0ken", "NOTICE_MAIL": mailbox.url}
    codes = [session(told, tests).code for tests in (GOOD, BAD, BAD)]
    assert (codes, len(hook.asked), len(mailbox.mails)) == ([0, 1, 1], 1, 1)
    done = session(told, GOOD)
    assert done.code == 0
    assert "notice sent to NOTICE_HOOK, NOTICE_MAIL: red -> green" in done.stdout.splitlines()
    red, green = messages(hook)
    assert red["title"] == f"[{told.root.name}] tests (suite) on embedded, no branch: green -> red"
    assert "failed: suite/test_it.py::test_it\n    assert 1 == 2" in red["message"]
    assert str(told.root / "logs") in red["message"]
    assert "failed" not in green["message"]
    assert [str(mail["Subject"]) for mail in mailbox.mails] == [red["title"], green["title"]]
    assert session(told, GOOD, "-k", "nothing").code == 5
    assert len(hook.asked) == 2


def test_a_broken_stack_is_told_with_its_log(told: Project, hook: Web) -> None:
    """A service that dies must be told as broken, with the end of its log; then nothing until that changes."""
    told.environ["NOTICE_HOOK"] = f"json://{hook.endpoint}"
    tests = "def test_it(web):\n    web.service('web').kill()\n    assert 0\n"
    told.stack("s", {"web": web(words=("say:ERROR hello", "exit:3"))})
    done = session(told, tests)
    assert done.code == 12, done.stdout
    (message,) = messages(hook)
    assert message["title"].endswith("green -> broken")
    assert "The end of the log of web:\nERROR hello" in message["message"]
    assert "notices: variable NOTICE_MAIL is not set, so nothing goes there" in done.stdout


@pytest.mark.parametrize("receiver", ["down", "silent", "500", "malformed", "missing"])
def test_no_receiver_changes_how_a_session_ends(receiver: str, told: Project, hook: Web) -> None:
    """One that is down, silent, refuses or is no URL must be a line; the next session must send what was kept."""
    hook.answers[:] = [(500, b"no")]
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if receiver == "silent":
            other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        url = {"500": f"json://{hook.endpoint}/t0ken", "malformed": "t0ken", "missing": ""}
        told.environ["NOTICE_HOOK"] = url.get(receiver, f"json://{address}/t0ken")
        done = session(told, BAD)
    assert done.code == 1, done.stdout
    lines = [line for line in done.stdout.splitlines() if "notice" in line]
    assert "t0ken" not in done.stdout + done.stderr
    if receiver == "missing":
        assert lines == []
    elif receiver == "malformed":
        assert lines[0].startswith("harness: notices: NOTICE_HOOK has no URL such as ")
    else:
        assert [line for line in lines if "was not reached: " in line], done.stdout
        hook.answers[:] = [(200, b"ok")]
        told.environ["NOTICE_HOOK"] = f"json://{hook.endpoint}/t0ken"
        assert "notice sent to NOTICE_HOOK: green -> red" in session(told, BAD).stdout
        assert len(messages(hook)) == 1 + (receiver == "500")


def test_an_interrupted_session_tells_nothing(told: Project, hook: Web) -> None:
    """A session that somebody ends must not pass for one that is broken."""
    told.environ["NOTICE_HOOK"] = f"json://{hook.endpoint}"
    tests = "import os\ndef test_it(web):\n    os.kill(os.getpid(), {})\n    __import__('signal').pause()\n"
    for number in (signal.SIGINT, signal.SIGTERM):
        assert session(told, tests.format(int(number))).code in (2, 143)
    assert hook.asked == []
    assert not (told.root / "notices.json").exists()


def test_a_suite_that_cannot_be_collected_is_told(told: Project, hook: Web) -> None:
    """An import error in the suite of a system that was asked for must be told, although no stack was used."""
    told.environ["NOTICE_HOOK"] = f"json://{hook.endpoint}"
    text = (told.root / "pyproject.toml").read_text()
    (told.root / "pyproject.toml").write_text(f'{text}[tool.harness.systems.shop]\ntests = "suite"\nstacks = ["s"]\n')
    assert session(told, "import nothing_of_this_name\n").code == 2
    assert hook.asked == []
    assert session(told, "import nothing_of_this_name\n", "--system=shop").code == 2
    (message,) = messages(hook)
    assert message["title"] == f"[{told.root.name}] shop on embedded, no branch: green -> broken"
    assert (
        "error: suite/test_it.py\n    ModuleNotFoundError: No module named 'nothing_of_this_name'" in message["message"]
    )


def test_workers_tell_once(told: Project, hook: Web) -> None:
    """With pytest-xdist the controller alone must tell."""
    told.environ["NOTICE_HOOK"] = f"json://{hook.endpoint}"
    done = session(
        told, "import pytest\n@pytest.mark.parametrize('n', range(6))\n" + BAD.replace("(web)", "(web, n)"), "-n2"
    )
    assert done.code == 1, done.stdout
    (message,) = messages(hook)
    assert "and 1 more tests" in message["message"]


# -- the task ----------------------------------------------------------------------------------------------------------


def harness(project: Project, *words: str) -> procs.Finished:
    """Run the console script."""
    return run_in(project, *HARNESS, *words)


def test_the_task_shows_and_tries(told: Project, hook: Web) -> None:
    """It must say who is told and how suites stand, print a message without sending it, and send one that is a test."""
    told.environ["NOTICE_HOOK"] = f"json://{hook.endpoint}/t0ken"
    session(told, BAD)
    hook.asked.clear()
    shown = harness(told, "notices").stdout
    assert shown.startswith(f"notices go to NOTICE_HOOK (json://{hook.endpoint}...)\n")
    assert "problem: variable NOTICE_MAIL is not set, so nothing goes there" in shown
    assert "\nred     embedded, suite, since its last run at " in shown
    told_json = json.loads(harness(told, "notices", "--json").stdout)
    assert told_json["suites"][0]["failed"] == ["suite/test_it.py::test_it"]
    dry = harness(told, "notices", "--dry-run").stdout
    assert dry.startswith(f"[{told.root.name}] tests on embedded, no branch: green -> red\n\nWhat changed: ")
    assert hook.asked == []
    tried = harness(told, "notices", "--test")
    assert tried.stdout.startswith(f"NOTICE_HOOK (json://{hook.endpoint}...): taken\n")
    (message,) = messages(hook)
    assert message["title"] == f"[{told.root.name}] a test of notices"
    assert "t0ken" not in shown + dry + tried.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--test",), "variable NOTICE_HOOK is not set"),
        (("--test", "--dry-run"), "--test, --dry-run and --json exclude each other"),
    ],
)
def test_the_task_says_what_is_wrong(words: tuple[str, ...], said: str, told: Project) -> None:
    """A test without anybody to send it to must be one clear error."""
    done = harness(told, "notices", *words)
    assert (done.code, said in done.stderr) == (10, True), done.stderr
    (told.root / "pyproject.toml").write_text("[tool.harness]\n")
    assert "next: urls = " in harness(told, "notices", "--test").stderr


def test_the_doctor_looks_at_urls(told: Project, hook: Web) -> None:
    """A URL that Apprise takes for none must be told before any run, and nothing be sent."""
    told.environ |= {"NOTICE_HOOK": f"json://{hook.endpoint}/t0ken", "NOTICE_MAIL": "slack://t0ken"}
    shown = harness(told, "doctor").stdout
    assert f"ok      notices: NOTICE_HOOK (json://{hook.endpoint}...)" in shown
    assert "warning notices: NOTICE_MAIL (slack://...) is no URL that Apprise takes: " in shown
    assert "t0ken" not in shown
    assert hook.asked == []
