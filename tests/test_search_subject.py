"""The parts of the search system without the stack: the application, and how a real engine comes to its documents."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import osmem_server
import psutil
import pytest
import yaml
from checkout import ROOT

from harness import procs
from harness.errors import BrokenStack
from harness.helpers.search import Search
from integration_tests.search.tests.suite import ALLOWED

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

SUBJECT = ROOT / "integration_tests/search/subject"
ENGINE = ROOT / "integration_tests/search/engine"
PROGRAM = f"import sys; sys.path.insert(0, {str(ENGINE)!r}); import opensearch; opensearch.main(*sys.argv[1:])"


def engine(project: Project, data: Path) -> dict[str, Any]:
    """Return a service that becomes the real engine, for which a small one stands."""
    small = project.root / "small"
    small.write_text(f'#!/bin/sh\nexec "{osmem_server.resolve_binary()}" -no-ja -addr "$1:$2"\n')
    small.chmod(0o755)
    command = ["python", "-c", PROGRAM, "{address}:{port:9200}", str(data), "{data}", str(small)]
    settings = {"ready": [{"search": {}}], "embedded": {"command": command}}
    return {"image": "opensearch", "ports": ["9200"], "x-harness": settings}


def test_its_unit_tests_pass_here_too() -> None:
    """The unit tests that its image is built with must pass on this machine, too."""
    argv = [sys.executable, "-m", "pytest", "-q", "unit", "--noconftest", "-p", "no:cacheprovider", "-p", "no:randomly"]
    done = procs.run(argv, timeout=120, cwd=SUBJECT)
    assert done.code == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_all_mean_the_same_time_for_an_answer() -> None:
    """What the application gives the engine for an answer must be what stack, docs and suite say."""
    program = "from petsearch.settings import read_settings; print(read_settings({}).timeout)"
    done = procs.run([sys.executable, "-c", program], timeout=30, cwd=SUBJECT)
    file = yaml.safe_load((ROOT / "compose/search.yaml").read_text())
    said = re.search(r"`SEARCH_TIMEOUT` \| seconds .*, (\d+) \|", (SUBJECT.parent / "README.md").read_text())
    assert said
    times = {
        float(done.stdout),
        float(file["services"]["app"]["environment"]["SEARCH_TIMEOUT"]),
        float(said[1]),
        ALLOWED,
    }
    assert times == {5.0}, done.stderr


def test_a_real_engine_is_filled_once(project: Project) -> None:
    """A real engine must get every document at its first start; at the next it must be left with what it holds."""
    project.stack("s", {"search": engine(project, ENGINE / "data")})
    stack = project.run().bring("s")
    assert psutil.Process(stack.service("search").pid).children()
    with Search(stack.endpoint("search", 9200)) as search:
        search.wait_count("owners", 4)
        search.wait_count("pets", 13)
        assert search.find("owners", {"ids": {"values": ["o1"]}})[0]["name"] == "Alice"
        stack.service("search").restart()
        search.wait_green()
        assert not psutil.Process(stack.service("search").pid).children()  # nobody who would fill it
        assert search.client.indices.get(index="*") == {}  # this one is empty when it is started


def test_a_real_engine_that_cannot_be_filled_ends(project: Project, tmp_path: Path) -> None:
    """Where the engine refuses a document the service must end, and its log say which."""
    (tmp_path / "pets.json").write_text('{"properties": {"age": {"type": "integer"}}}')
    (tmp_path / "pets.ndjson").write_text('{"age": 3}\n{"age": "old"}\n')
    service = engine(project, tmp_path)
    service["x-harness"]["ready"] = [{"search": {"indices": {"pets": 2}}}]
    project.stack("s", {"search": service})
    with pytest.raises(BrokenStack) as caught:
        project.run().bring("s")
    assert "Service 'search' ended" in str(caught.value)
    assert "pets.ndjson:2" in str(caught.value)
