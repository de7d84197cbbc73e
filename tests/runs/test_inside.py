"""Suites that run in a container which joins the stack's network, on a real engine."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import containers
import pytest
from projects import run_in, run_json

from harness import clock

if TYPE_CHECKING:
    from pathlib import Path

    from containers import Dock

    from harness import procs

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
DOCKERFILE = "FROM {image}\nCOPY suite /suite\n"
ASKS = """\
import json, os, urllib.request

def ask(where):
    with urllib.request.urlopen(f"http://{where}/", timeout=10) as answer:
        return json.load(answer)["status"]

def test_by_name():
    assert ask("web") == "green"

def test_by_variable():
    assert os.environ["HARNESS_ENDPOINT_WEB_8080"] == "web:80"
    assert ask(os.environ["WEB"]) == "green"
    assert (os.environ["HARNESS_ENGINE"], os.environ["HARNESS_INSIDE"]) == ("attach", "1")
"""

FAILS = """\
from pathlib import Path

def test_fails():
    Path("/out").mkdir()
    Path("/out/a").write_text("b")
    assert 0
"""


def suite(dock: Dock, text: str, *, inside: str = "", **service: object) -> None:
    """Write a stack with a web server, the image of its tests and a system that has them."""
    context = dock.root / "image"
    context.mkdir()
    tests = context / "suite" / "tests"
    tests.mkdir(parents=True)
    (tests / "test_it.py").write_text(text)
    (context / "Dockerfile").write_text(DOCKERFILE.format(image=containers.pytest_image(dock.client, dock.image)))
    waits = {"build": "../image", "profiles": ["test"], "depends_on": ["web"], **service}
    dock.stack("s", {"web": dock.web(), "tests": waits})
    (dock.root / "pyproject.toml").write_text(
        '[tool.harness.systems.s]\ntests = "tests"\ndefault = "s"\ninside = "tests"\n'
        f'{inside}\n[tool.harness.env]\nWEB = "{{endpoint:web:8080}}"\n'
    )


def harness(dock: Dock, *words: str, code: int = 0) -> procs.Finished:
    done = run_in(dock, *HARNESS, *words, timeout=120)
    assert done.code == code, done.stdout + done.stderr
    return done


def test_a_suite_runs_within_the_network(dock: Dock) -> None:
    """A suite must reach services by their names and by variables, and its outcomes must be those of the run."""
    suite(dock, ASKS)
    done = harness(dock, "test", "--inside", "--", "-v")
    assert "test_by_variable PASSED" in done.stdout
    assert dock.left() == []
    assert run_json(dock)["outcomes"] == {"succeeded": 2}
    assert "test_by_name" in (dock.latest / "junit.xml").read_text()
    assert "test_by_name" in (dock.latest / "inside" / "junit.xml").read_text()
    assert (dock.latest / "inside" / "output.log").read_text() == done.stdout


def test_reports_of_a_suite_that_fails_come_out(dock: Dock) -> None:
    """A suite that fails must end with 1, and what it wrote must be there."""
    suite(dock, FAILS, inside='inside-reports = "/out"')
    done = harness(dock, "test", "--inside", code=1)
    assert "1 failed" in done.stdout
    assert run_json(dock)["outcomes"] == {"failed": 1}
    assert (dock.latest / "inside" / "reports" / "a").read_text() == "b"
    assert "assert 0" in (dock.latest / "junit.xml").read_text()


WRITES = """\
import os, signal, threading, urllib.request
from pathlib import Path

out = Path("/out")

def test_passes():
    out.mkdir()
    (out / "a").write_text("b")
    (out / "leads-out").symlink_to("/etc/passwd")
    (out / "stays").symlink_to("a")
    os.mkfifo(out / "pipe")

def test_ends():
    print("going on", flush=True)
    {ends}
"""
REPORTS = 'inside-reports = "/out"'


def written(dock: Dock) -> str:
    """Return what a suite wrote before its end, as it was copied out."""
    return (dock.latest / "inside" / "reports" / "a").read_text()


def test_what_leads_out_of_the_reports_is_refused(dock: Dock) -> None:
    """Links that lead elsewhere and pipes must not be copied, which is told; what stays within must be."""
    suite(dock, WRITES.format(ends="pass"), inside=REPORTS)
    done = harness(dock, "test", "--inside")
    reports = dock.latest / "inside" / "reports"
    assert sorted(path.name for path in reports.iterdir()) == ["a", "stays"]
    assert (reports / "stays").read_text() == "b"
    assert "not copied out of the container: out/pipe: it is a pipe" in done.stderr
    assert "out/leads-out: it is a link that leads out, to /etc/passwd" in done.stderr


def test_reports_come_out_when_pytest_is_killed(dock: Dock) -> None:
    """KILL for the suite must end the run with 137, said and in the reports, and what it had written must be there."""
    suite(dock, WRITES.format(ends="os.kill(os.getpid(), signal.SIGKILL)"), inside=REPORTS)
    done = harness(dock, "test", "--inside", code=137)
    assert "harness: The command in service 'tests' was killed (SIGKILL)" in done.stderr
    assert written(dock) == "b"
    assert run_json(dock)["exit_code"] == 137
    assert "The command in service" in (dock.latest / "junit.xml").read_text()


def test_reports_come_out_when_memory_is_out(dock: Dock) -> None:
    """A suite that the kernel kills for want of memory must be told so, with the limit, and its reports be there."""
    ends = "taken = [b'x' * (1 << 20) for _ in range(4096)]"
    suite(dock, WRITES.format(ends=ends), inside=REPORTS, mem_limit="96m", memswap_limit="96m")
    done = harness(dock, "test", "--inside", code=137)
    assert "was killed (SIGKILL): out of memory, limit 96 MiB" in done.stderr
    assert written(dock) == "b"


def test_a_suite_whose_time_is_up(dock: Dock) -> None:
    """When its time is up the suite must be interrupted, write its report, and the run end with 1."""
    suite(dock, WRITES.format(ends="threading.Event().wait()"), inside=REPORTS)
    done = harness(dock, "test", "--inside", "--inside-timeout", "20s", code=1)
    assert "'pytest' had not ended in 20 s (--inside-timeout); it was ended" in done.stderr
    assert written(dock) == "b"
    assert "test_passes" in (dock.latest / "inside" / "junit.xml").read_text()
    assert run_json(dock)["outcomes"]["failed"] == 1


def test_a_suite_that_heeds_no_interrupt(dock: Dock) -> None:
    """One that goes on when it is asked to end must be killed, and what it had written be there."""
    suite(dock, ASKS, inside=REPORTS)
    goes_on = ["sh", "-c", "trap '' INT; mkdir /out; printf b > /out/a; while :; do sleep 1; done"]
    harness(dock, "run", "--inside", "--inside-timeout", "5s", "--", *goes_on, code=1)
    assert written(dock) == "b"


def test_a_service_that_dies_under_a_suite(dock: Dock) -> None:
    """A service that dies meanwhile must be named, and the run end with 12, whatever the suite makes of it."""
    ends = "urllib.request.urlopen('http://web/die', timeout=5)"
    suite(dock, WRITES.format(ends=ends), inside=REPORTS)
    done = harness(dock, "test", "--inside", code=12)
    assert "Service 'web' ended with exit code 3" in done.stderr
    assert written(dock) == "b"


def _until_it_goes_on(dock: Dock) -> None:
    for _ in clock.poll(clock.Deadline.after(60)):
        log = dock.root / "logs" / "latest" / "inside" / "output.log"
        if log.is_file() and "going on" in log.read_text():
            return
    pytest.fail("the suite did not come so far")


def test_reports_come_out_when_the_container_is_killed(dock: Dock, tmp_path: Path) -> None:
    """A container that somebody kills must be named, the run end with 12, and its files be there."""
    suite(dock, WRITES.format(ends="threading.Event().wait()"), inside=REPORTS)
    process = containers.spawn(dock, tmp_path / "said", *HARNESS, "test", "--inside", "--", "-s")
    _until_it_goes_on(dock)
    dock.client.kill(dock.containers()["tests"])
    assert process.wait(30) == 12
    assert "Service 'tests' ended with signal 9 (SIGKILL)" in (tmp_path / "said").read_text()
    assert written(dock) == "b"
    assert dock.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_reports_come_out_when_the_command_is_interrupted(dock: Dock, tmp_path: Path, number: signal.Signals) -> None:
    """A signal for the command must have the suite write its report and all be removed, within its time."""
    suite(dock, WRITES.format(ends="threading.Event().wait()"), inside=REPORTS)
    process = containers.spawn(dock, tmp_path / "said", *HARNESS, "test", "--inside", "--", "-s")
    _until_it_goes_on(dock)
    process.send_signal(number)
    assert process.wait(20) == -number
    assert written(dock) == "b"
    assert "test_passes" in (dock.latest / "inside" / "junit.xml").read_text()
    assert run_json(dock)["exit_code"] == 128 + number
    assert dock.left() == []


def test_any_command_runs_within_the_network(dock: Dock) -> None:
    """``run --inside`` must run a command there, with its own exit code; what is kept must be the stack alone."""
    suite(dock, ASKS)
    harness(dock, "up")
    words = ["sh", "-c", "echo $HARNESS_ENDPOINT_WEB_8080; echo err >&2; exit 7"]
    done = harness(dock, "run", "--inside", "--", *words, code=7)
    assert done.stdout == "web:80\n"
    assert "err" in done.stderr.splitlines()
    assert dock.containers().keys() == {"web"}
    harness(dock, "test", "--inside", "--keep", "always")
    assert dock.containers().keys() == {"web"}
    harness(dock, "down")
    assert dock.left() == []


def test_what_cannot_run_inside_is_told(dock: Dock) -> None:
    """No such command, no reports and no such service must each end in 10 with one clear error."""
    suite(dock, ASKS, inside='inside-command = ["pytset", "tests"]')
    done = harness(dock, "test", "--inside", code=10)
    assert "of service 'tests' has no command 'pytset'" in done.stderr
    text = (dock.root / "pyproject.toml").read_text()
    lines = 'inside-command = ["true"]\ninside-reports = "/nowhere"'
    (dock.root / "pyproject.toml").write_text(text.replace('inside-command = ["pytset", "tests"]', lines))
    done = harness(dock, "test", "--inside", code=10)
    assert "/nowhere cannot be copied" in done.stderr
    assert "inside-reports names a path that is not in the container after the command" in done.stderr
    (dock.root / "pyproject.toml").write_text(text.replace('inside = "tests"', 'inside = "test"'))
    done = harness(dock, "test", "--inside", code=10)
    assert "Service 'test', for --inside, is not in compose/s.yaml; there are: web, tests; did you mean 'tests'?" in (
        done.stderr
    )
    assert dock.left() == []
