"""Suites that run in a container which joins the stack's network, on a real engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import containers
from projects import run_in, run_json

if TYPE_CHECKING:
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
