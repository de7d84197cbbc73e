"""On GitHub Actions: commands that nobody else's text can give, annotations, and the summary of a step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from projects import Project, run_in, service, web

from harness import github
from harness.reporting.markdown import literal, markdown
from harness.reporting.shown import RunShown

if TYPE_CHECKING:
    from harness import procs

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
HOSTILE = "::error file=x::owned\n  ::add-mask::a\r::set-output name=a::b\nlog ##[error]owned"
CONFTEST = 'import harness\nweb = harness.stack_fixture("s", scope="module")\n'
SUITE = """
import os
import pytest
@pytest.mark.parametrize("word", ["::error::owned", "a,b:c%0A##[error]x", "`<img src=x>`|**"])
def test_named(web, word):
    print("::error::printed by the test")
    assert word == 1
def test_good(web): pass
def test_plain(): raise RuntimeError("first\\n::error::second line")
"""


def commands(text: str) -> list[str]:
    """Return what the runner of GitHub takes for commands in an output: by its own rules, with what stops them."""
    found, word = [], ""
    for line in re.split(r"\r\n|\r|\n", text):
        bare = line.lstrip()
        if word:
            word = "" if bare == f"::{word}::" else word
        elif bare.startswith("::stop-commands::"):
            word = bare.removeprefix("::stop-commands::")
        elif (bare.startswith("::") and "::" in bare[2:]) or re.search(r"##\[[^\]]+\]", line):
            found.append(bare)
    return found


def suite(project: Project, tests: str = SUITE) -> Path:
    """Write a suite with the stack ``s``; return the file for the summary. GitHub Actions runs it from now on."""
    folder = project.root / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(tests)
    summary = project.root / "summary.md"
    project.environ |= {"GITHUB_ACTIONS": "true", github.SUMMARY: str(summary), "GITHUB_WORKSPACE": str(project.root)}
    return summary


def pytest_in(project: Project, *argv: str) -> procs.Finished:
    """Run pytest on the suite."""
    return run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "suite", *argv)


def harness(project: Project, *argv: str) -> procs.Finished:
    """Run a command of ours."""
    return run_in(project, *HARNESS, *argv)


# -- what is printed -----------------------------------------------------------------------------------------------


def test_no_line_of_a_log_is_a_command() -> None:
    """Both spellings, after white space and carriage returns, must be printed as something else that is still read."""
    shown = github.neutral(HOSTILE)
    assert commands(HOSTILE)
    assert commands(shown) == []
    assert shown.splitlines()[0] == ": :error file=x::owned"
    assert github.guarded(HOSTILE, {}) == HOSTILE


@given(st.text(alphabet=st.sampled_from(":#[] \t\r\n\x0b\u2028ab%"), max_size=30))
def test_no_text_is_a_command(text: str) -> None:
    """Whatever is printed that way must give no command."""
    assert commands(github.neutral(text)) == []


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=20))
def test_an_annotation_is_one_command(title: str, message: str, file: str) -> None:
    """Whatever it tells, an annotation must be one line, and neither its text nor its title may end its properties."""
    line = str(github.Annotation(f"t{title}", message, f"f{file}", 3))
    assert commands(line) == [line.lstrip()]
    assert "\n" not in line
    assert "\r" not in line
    properties = line.removeprefix("::error ").partition("::")[0]
    assert [pair.partition("=")[0] for pair in properties.split(",")] == ["file", "line", "title"]


def test_an_annotation_without_file_has_no_line() -> None:
    """What has no place in the workspace must be told without one."""
    assert str(github.Annotation("harness up", "50% of a, b", line=4)) == "::error title=harness up::50%25 of a, b"


def test_files_are_named_from_the_workspace(tmp_path: Path) -> None:
    """A file must be named relative to GITHUB_WORKSPACE, also by way of a link, and not at all outside of it."""
    (tmp_path / "w" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "w")
    environ = {"GITHUB_WORKSPACE": str(tmp_path / "w")}
    assert github.file_in_workspace(tmp_path / "w" / "sub" / "test.py", environ) == "sub/test.py"
    assert github.file_in_workspace(tmp_path / "link" / "sub" / "test.py", environ) == "sub/test.py"
    assert github.file_in_workspace(tmp_path / "test.py", environ) == ""
    assert github.file_in_workspace(tmp_path / "test.py", {}) == ""


@given(st.text(alphabet=st.sampled_from("`*_<>|[]()!\\#@ \nab&;$"), max_size=30))
def test_what_tests_wrote_is_no_markup(text: str) -> None:
    """Whatever a line holds must be shown as code, in one piece."""
    tokens = MarkdownIt("commonmark", {"html": True}).parse(f"- {literal(text)}\n")
    inline = next(token for token in tokens if token.type == "inline")
    assert [child.type for child in inline.children or ()] == ["code_inline"]


def test_a_long_report_is_cut() -> None:
    """The summary of a step has a limit; of many failed tests and long lines only so much may be told."""
    bad = tuple({"test": f"t{n}", "status": "failed", "line": "x" * 5000} for n in range(500))
    text = markdown(RunShown("r", Path("/r"), {"outcomes": {"failed": 500}}, bad))
    assert "- and 450 more" in text
    assert len(text) < 50_000


# -- a session -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_failed_tests_are_annotated_at_their_lines(project: Project, workers: tuple[str, ...]) -> None:
    """Each failed test must be told once with file, line and reason; nothing that tests wrote may be a command."""
    project.stack("s", {"web": web(words=("say:::error::logged",))})
    suite(project)
    done = pytest_in(project, *workers)
    assert done.code == 1, done.stdout
    told = commands(done.stdout)
    assert told[0] == "::group::what failed, in full"
    assert told[1] == "::endgroup::"
    assert sorted(line.partition(",title=")[0] for line in told[2:]) == [
        *["::error file=suite/test_it.py,line=7"] * 3,
        "::error file=suite/test_it.py,line=9",
    ]
    assert "::error::logged" in done.stdout
    assert any(line.endswith("::RuntimeError: first") for line in told)


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_the_summary_is_the_report(project: Project, workers: tuple[str, ...]) -> None:
    """The step's summary must tell counts, first lines and the slowest, once, and be what ``report`` prints."""
    project.stack("s", {"web": web()})
    summary = suite(project)
    summary.write_text("before\n")
    pytest_in(project, *workers)
    text = summary.read_text()
    assert text.startswith(
        "before\n## Tests on `embedded`\n\nTests: 4 failed, 1 succeeded. Exit code: 1 (tests failed)."
    )
    assert "- failed: `suite.test_it::test_plain`\\\n  `RuntimeError: first`\n" in text
    assert "### Slowest tests" in text
    assert text.count("\n## ") == 1
    shown = harness(project, "report", "--markdown").stdout
    assert text.removeprefix("before\n").rstrip() == shown.rstrip()
    assert commands(shown) == []


def test_the_service_that_broke_is_told_once(project: Project) -> None:
    """Tests that one service broke must be one annotation, and the summary must name the service."""
    project.stack("s", {"web": web()})
    summary = suite(
        project,
        "import os\nfrom harness import clock\ndef test_killed(web):\n    os.kill(web.service('web').pid, 9)\n"
        "    for _ in clock.poll(clock.Deadline.after(9)): pass\ndef test_next(web): pass\ndef test_last(web): pass\n",
    )
    done = pytest_in(project)
    assert done.code == 12, done.stdout
    told = [line for line in commands(done.stdout) if line.startswith("::error")]
    assert len(told) == 1, told
    assert "title=broken%3A suite/test_it.py%3A%3Atest_killed (and 2 more)" in told[0]
    assert "::Service 'web' ended with signal 9 (SIGKILL) under test_killed" in told[0]
    assert "### Services that broke\n\n- `web` under `suite/test_it.py::test_killed`\\\n  `Service 'web'" in (
        summary.read_text()
    )


def test_a_service_that_does_not_settle_is_told(project: Project) -> None:
    """A stack that does not come up must be one annotation at the first test, and be named in the summary."""
    project.stack("s", {"web": web(words=("say:::error::logged", "exit:3"))})
    summary = suite(project, "def test_it(web): pass\ndef test_next(web): pass\n")
    done = pytest_in(project)
    assert done.code == 12, done.stdout
    told = [line for line in commands(done.stdout) if line.startswith("::error")]
    assert [line.partition(",title=")[0] for line in told] == ["::error file=suite/test_it.py,line=1"]
    assert "### Services that broke\n\n- `web` under 2 tests\\\n  `Service 'web' ended with" in summary.read_text()


def test_a_module_that_cannot_be_imported_is_annotated(project: Project) -> None:
    """A collection error must be annotated where a stack was asked for elsewhere."""
    project.stack("s", {"web": web()})
    suite(project, "def test_it(web): pass\n")
    (project.root / "suite" / "test_bad.py").write_text("import nothing_like_it\n")
    done = pytest_in(project, "--continue-on-collection-errors")
    assert any(
        line.startswith("::error file=suite/test_bad.py,line=1,") and "No module named 'nothing_like_it'" in line
        for line in commands(done.stdout)
    ), done.stdout


def test_plain_tests_are_left_to_their_owner(project: Project) -> None:
    """A session that asks for no stack must print and write nothing of this."""
    summary = suite(project, "def test_it(): assert False\n")
    done = pytest_in(project)
    assert done.code == 1
    assert "::" not in done.stdout.replace("test_it.py::test_it", "")
    assert not summary.exists()


def test_elsewhere_nothing_is_printed(project: Project) -> None:
    """Without GitHub Actions there must be no commands, and a summary file must be left alone."""
    project.stack("s", {"web": web()})
    summary = suite(project, "def test_it(web): assert False\n")
    del project.environ["GITHUB_ACTIONS"]
    assert commands(pytest_in(project).stdout) == []
    assert not summary.exists()


def test_a_summary_that_cannot_be_written_is_told(project: Project) -> None:
    """The run's outcome must not depend on the summary."""
    project.stack("s", {"web": web()})
    suite(project, "def test_it(web): pass\n")
    project.environ[github.SUMMARY] = str(project.root / "no" / "folder")
    done = pytest_in(project)
    assert done.code == 0
    assert f"{github.SUMMARY} {project.root}/no/folder cannot be written: No such file or directory" in done.stdout


def test_a_command_that_fails_is_annotated(project: Project) -> None:
    """A stack that does not settle must be one error, whatever its service wrote, and ``logs`` no command."""
    project.stack("s", {"web": service("say:::error::logged", "exit:3")})
    suite(project)
    done = harness(project, "up", "--stack", "s")
    assert done.code == 12
    told = commands(done.stdout) + commands(done.stderr)
    assert len(told) == 1, told
    assert told[0].startswith("::error title=harness up::Service 'web' ")


def test_logs_are_no_commands(project: Project) -> None:
    """What ``logs`` prints of one service must give no commands."""
    project.stack("s", {"web": web(words=("say:::error::logged",))})
    suite(project)
    assert harness(project, "up", "--stack", "s").code == 0
    done = harness(project, "logs", "--service", "web")
    harness(project, "down")
    assert ": :error::logged" in done.stdout
    assert commands(done.stdout) == []


def test_report_is_text_or_json_or_markdown(project: Project) -> None:
    """Two ways at once must be refused."""
    done = harness(project, "report", "--json", "--markdown")
    assert done.code == 10
    assert "--json and --markdown exclude each other" in done.stderr
