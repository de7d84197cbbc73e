"""How the subjects of DAP are made where they run as local processes, with a Cargo of the test's own."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from checkout import ROOT

from harness import procs

if TYPE_CHECKING:
    from pathlib import Path

RUN = ROOT / "integration_tests/dap/subject/run.py"
LATER = "dap-client09"
PROGRAMS = ("dap-daphne", "dap-client", "dap-collector", "dap-ours", "dap-cell")
CARGO = """#!/bin/sh
echo "$@" >> {noted}
for word; do case $word in --target-dir=*) target=${{word#--target-dir=}};; esac; done
mkdir -p $target/release && cd $target/release
for name in {programs}; do printf '#!/bin/sh\\necho this is %s $*\\n' $name > $name; chmod +x $name; done
{last}
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine without Cargo, whose caches are empty."""
    (tmp_path / "bin").mkdir()
    return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}


def cargo(folder: Path, last: str = "") -> Path:
    """Put a Cargo there that makes programs which say their name; return the file that its calls are noted in."""
    noted = folder / "noted"
    program = folder / "bin" / "cargo"
    program.write_text(CARGO.format(noted=noted, programs=" ".join([*PROGRAMS, LATER]), last=last))
    program.chmod(0o755)
    return noted


def run(program: str, environ: dict[str, str], *words: str) -> procs.Finished:
    return procs.run([sys.executable, str(RUN), program, *words], timeout=60, env=environ)


def test_without_cargo_it_says_what_to_install(environ: dict[str, str]) -> None:
    """Where there is no Cargo the end must say what is missing and which packages have it."""
    environ["PATH"] = environ["PATH"].partition(":")[0]
    done = run("dap-client", environ)
    assert done.code == 1
    assert "there is no cargo here" in done.stderr
    assert "rustc-web and cargo-web" in done.stderr


def test_programs_are_made_once(tmp_path: Path, environ: dict[str, str]) -> None:
    """Programs that start at the same time must be made by one of them, locked, and later ones not be made again."""
    noted = cargo(tmp_path)
    with ThreadPoolExecutor(len(PROGRAMS)) as pool:
        ends = list(pool.map(lambda name: run(name, environ), PROGRAMS))
    assert [end.stdout.splitlines()[-1] for end in ends] == [f"this is {name}" for name in PROGRAMS]
    assert run("dap-ours", environ).stdout == "this is dap-ours\n"
    (call,) = noted.read_text().splitlines()
    assert call.startswith("build --release --locked")


def test_programs_of_another_draft_are_made_for_who_starts_them(tmp_path: Path, environ: dict[str, str]) -> None:
    """The start of draft 02's programs must not make those of draft 09, and the other way round."""
    noted = cargo(tmp_path)
    for program in (PROGRAMS[0], LATER, LATER, PROGRAMS[1]):
        assert run(program, environ).stdout.endswith(f"this is {program}\n")
    assert len(noted.read_text().splitlines()) == 2
    kept = tmp_path / "home/.cache/harness/dap"
    assert {path.name for path in kept.glob("made/*/*")} == set(PROGRAMS)
    assert {path.name for path in kept.glob("made09/*/*")} == {LATER}


def test_programs_are_made_before_they_are_needed(tmp_path: Path, environ: dict[str, str]) -> None:
    """``--build`` must make them and start none; one that is then started must get its words, and nothing be made."""
    noted = cargo(tmp_path)
    assert "this is" not in run("--build", environ).stdout
    assert run("dap-cell", environ, "count", "worker").stdout == "this is dap-cell count worker\n"
    assert len(noted.read_text().splitlines()) == 1


def test_a_build_that_fails_is_told(tmp_path: Path, environ: dict[str, str]) -> None:
    """A build that fails must end the start with Cargo's own words, leave nothing that is used, and be tried again."""
    noted = cargo(tmp_path, "echo 'error: no space left' >&2; exit 101")
    done = run("dap-client", environ)
    assert done.code == 1
    assert "error: no space left" in done.stderr
    assert "cargo build exit code 101" in done.stderr
    cargo(tmp_path)
    assert run("dap-client", environ).stdout.endswith("this is dap-client\n")
    assert len(noted.read_text().splitlines()) == 2
