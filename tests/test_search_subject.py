"""The application of the search system, without an engine."""

from __future__ import annotations

import sys

from checkout import ROOT

from harness import procs

SUBJECT = ROOT / "integration_tests/search/subject"


def test_its_unit_tests_pass_here_too() -> None:
    """The unit tests that its image is built with must pass on this machine, too."""
    argv = [sys.executable, "-m", "pytest", "-q", "unit", "--noconftest", "-p", "no:cacheprovider", "-p", "no:randomly"]
    done = procs.run(argv, timeout=120, cwd=SUBJECT)
    assert done.code == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
