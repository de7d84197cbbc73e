"""The table of forwarders that the suite can test is read, wrong entries are refused, and skips say why."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT

from harness import procs
from harness.errors import ConfigError

sys.path.insert(0, str(ROOT / "integration_tests/forwarder/tests"))

from subjects import DIALECTS, FEATURES, TABLE, Subject, chosen, read

PLAIN = '[mine]\ncommands = ["fc00"]\ndata = "f144"\nexit-code = 0\nadding = "added"\n'
SUITE = "integration_tests/forwarder/tests"


def written(folder: Path, text: str) -> Path:
    """Return a table with ``text``."""
    path = folder / "subjects.toml"
    path.write_text(text)
    return path


def collected(subject: str, *words: str) -> procs.Finished:
    """Run pytest on tests of the suite that need no stack, for they are skipped or only listed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("FORWARDER_", "PYTEST_"))}
    argv = [sys.executable, "-m", "pytest", SUITE, "--system=forwarder", "-p", "no:cacheprovider", *words]
    environ |= {"FORWARDER_SUBJECT": subject, "HARNESS_ENGINE": "embedded"}
    return procs.run([*argv, "-W", "default"], timeout=60, cwd=ROOT, env=environ)


# -- the table -----------------------------------------------------------------------------------------------------


def test_the_projects_own_table_is_right() -> None:
    """Its subjects must be there, the default one with everything, and what is called by a file must exist."""
    subjects = read(TABLE)
    assert set(subjects) >= {"ours", "terse"}
    assert subjects["ours"].lacks([*DIALECTS, *FEATURES]) == ""
    assert chosen({}) == subjects["ours"]
    folder = ROOT / "integration_tests/forwarder/subject"
    assert (folder / subjects["terse"].environment["FORWARDER_PROGRAM"]).is_file()
    inis = {path.name for path in (ROOT / "config-files" / subjects["terse"].environment["FORWARDER_INI"]).iterdir()}
    assert inis == {"forwarding.ini", "fake_pvs.ini", "idle_updates.ini", "long_run.ini"}


def test_an_entry_is_what_it_says(tmp_path: Path) -> None:
    """Each key must come back as a value; what is left out has none."""
    more = 'beside = ["ep00"]\nenvironment = {FORWARDER_INI = "x"}\n[mine.cannot]\nalarms = "none"\n'
    assert read(written(tmp_path, PLAIN)) == {"mine": Subject("mine", ("fc00",), "f144", 0, "added")}
    subject = chosen({"FORWARDER_SUBJECT": "mine"}, written(tmp_path, PLAIN + more))
    assert (subject.beside, subject.environment, subject.cannot) == (
        ("ep00",),
        {"FORWARDER_INI": "x"},
        {"alarms": "none"},
    )
    environ = {"FORWARDER_INI": "the caller's"}
    subject.set_in(environ)
    assert environ == {"FORWARDER_INI": "the caller's"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("commands", "command"), "[mine] key 'command' is not known; did you mean 'commands'?"),
        (("commands", "command"), "[mine] commands is missing"),
        (('["fc00"]', '"fc00"'), "[mine] commands is 'fc00', a list of texts was needed"),
        (('["fc00"]', "[]"), "[mine] commands is empty, one dialect was needed"),
        (('["fc00"]', '["fc01"]'), "[mine] commands: 'fc01' is not known; valid: json, rf5k, fc00"),
        (("f144", "f145"), "[mine] data: 'f145' is not known; valid: f142, f144; did you mean 'f144'?"),
        (("= 0", "= true"), "[mine] exit-code is True, a number was needed"),
        (("[mine]", 'mine = "x"\n[other]'), "mine = 'x': a table [mine] was needed"),
        (("exit-code", 'beside = ["f144"]\nexit-code'), "beside has 'f144', which is its data and not passed over"),
        (("exit-code", 'cannot = {alarm = "x"}\nexit-code'), "[mine] cannot: 'alarm' is not known"),
        (("exit-code", 'cannot = {alarms = ""}\nexit-code'), "[mine] cannot is {'alarms': ''}, a table of texts"),
        (("exit-code", 'environment = {PATH = "x"}\nexit-code'), "'PATH' is no variable of compose/forwarder.yaml"),
        (("[mine]", "[mine"), "subjects.toml: "),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    """What is wrong must be told with file, subject, key, what was seen and what is valid, before any test runs."""
    path = written(tmp_path, PLAIN.replace(*change))
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert says in "\n".join(caught.value.problems)
    assert all(problem.startswith(f"{path}: ") for problem in caught.value.problems)


def test_an_unknown_subject_is_ten() -> None:
    """A name that is not in the table must end the session at once, with the nearest."""
    done = collected("terce")
    assert done.code == 10, done.stdout + done.stderr
    assert "FORWARDER_SUBJECT=terce: there is no such subject; there are: ours, terse" in done.stdout + done.stderr
    assert "did you mean 'terse'?" in done.stdout + done.stderr


# -- what is skipped -----------------------------------------------------------------------------------------------


def test_a_lack_has_a_reason() -> None:
    """The first thing that is lacking must be named, with the reason of the table; what is there is no lack."""
    subject: Any = Subject("s", ("fc00",), "f144", 0, "x", cannot={"alarms": "it has none"})
    assert subject.lacks(["fc00", "storage"]) == ""
    assert subject.lacks(["fc00", "alarms"]) == "subject 's' has no alarms: it has none"
    assert subject.lacks(["json"]) == "subject 's' takes no json commands: fc00 only"


def test_what_a_subject_lacks_is_skipped_and_counted() -> None:
    """Tests of what it does not have must be skipped with the reason, and nothing be started for them."""
    done = collected("terse", "-q", "-k", "sasl or stored or alarms")
    assert done.code == 0, done.stdout
    assert "19 skipped" in done.stdout, done.stdout
    assert "subject 'terse' has no passwords: its ini file has no users" in done.stdout
    assert "subject 'terse' has no storage: it keeps nothing for its next life" in done.stdout
    assert "subject 'terse' has no alarms: an f144 message has no alarm" in done.stdout
    assert "run folder" not in done.stdout
