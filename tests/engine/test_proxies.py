"""Clients of an environment ask its addresses themselves, whatever proxy this machine has."""

from __future__ import annotations

import os
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest
from projects import run_in, web

from harness.engine.proxies import Directly, exceptions

if TYPE_CHECKING:
    from projects import Project

PROXY = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "localhost,127.0.0.1"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"NO_PROXY": "a"}, None),
        ({"http_proxy": ""}, None),
        ({"HTTP_PROXY": "p"}, "127.1.1.1,127.1.1.2"),
        ({"https_proxy": "p", "NO_PROXY": "a, b", "no_proxy": "b,127.1.1.2"}, "a,b,127.1.1.2,127.1.1.1"),
        ({"ALL_PROXY": "p", "no_proxy": "*"}, None),
    ],
)
def test_what_is_excepted_is_added_to_what_is_written(environ: dict[str, str], expected: str | None) -> None:
    """Both spellings must have what either had, and the hosts, each once; without a proxy nothing may be set."""
    made = exceptions(environ, ["127.1.1.2", "127.1.1.1"])
    assert made == ({"NO_PROXY": expected, "no_proxy": expected} if expected else {})


def test_this_process_is_left_as_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was changed for this process must be as before when it is forgotten, also when it was changed twice."""
    for name in ("http_proxy", "no_proxy", "NO_PROXY", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "corp")
    before = dict(os.environ)
    directly = Directly()
    directly.ask(["127.1.1.1"])
    directly.ask(["127.1.1.2"])
    assert os.environ["NO_PROXY"] == "corp,127.1.1.1,127.1.1.2"
    assert urllib.request.proxy_bypass("127.1.1.2")
    directly.forget()
    assert dict(os.environ) == before


@pytest.mark.parametrize("way", ["test", "run"])
def test_tests_and_run_reach_services_past_a_proxy(project: Project, way: str) -> None:
    """With a proxy that leads nowhere, tests and commands must reach their services."""
    project.stack("s", {"web": web()})
    project.environ |= PROXY
    ask = "import urllib.request as u; print(u.urlopen('http://' + {}, timeout=20).status)"
    if way == "run":
        code = "import os; " + ask.format("os.environ['HARNESS_ENDPOINT_WEB_8080']")
        argv = ["-c", "from harness.invoke_tasks import main; main()", "run", "--stack", "s", "--"]
        done = run_in(project, *argv, sys.executable, "-c", code)
    else:
        suite = project.root / "suite"
        suite.mkdir()
        (suite / "conftest.py").write_text('import harness\nup = harness.stack_fixture("s", scope="session")\n')
        asked = ask.format("up.endpoint('web', 8080)").replace("; ", "\n    ")
        (suite / "test_it.py").write_text(f"def test_it(up):\n    {asked}\n")
        done = run_in(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "suite")
    assert done.code == 0, done.stdout + done.stderr
