"""What runs one cell of a matrix again without harness: its script, and its Compose file."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, Popen  # noqa: TID251 - a script that is signalled while it runs

import pytest
import yaml
from matrix_cells import cell

from harness import procs
from harness.matrix.site import Part
from harness.matrix.verdicts import Result, Verdict
from harness.reporting.interop.repro import COMPOSE, SCRIPT, Again, compose_of, is_secret, script_of, write_repro

PROGRAM = """
import os, sys, json, time, signal
role, does = sys.argv[1], sys.argv[2]
print(json.dumps({"id": 1, "ty": "log?", "in": {"cwd": os.getcwd(), "env": os.environ.get("SAID", "")}}), flush=True)
def say(ty):
    print(json.dumps({"id": 2, "ty": ty, "in": {}}), flush=True)
open(os.path.join(os.environ["INTEROP_SHARED"], role), "w").close()
open(os.path.join(os.environ["INTEROP_LOGS"], "mine"), "w").close()
if "ignores" in does:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "daemon" in does and not os.fork():
    os.setsid()
    time.sleep(600)
if "early" in does:
    sys.exit(int(does.split()[-1]))
if "mute" not in does:
    say("ready")
if role == "driver":
    assert sorted(os.listdir(os.environ["INTEROP_SHARED"])) == ["driver", "worker"], "shared"
    hosts = dict(each.split("=") for each in os.environ["INTEROP_PEERS"].split())
    assert hosts["worker"] != hosts["driver"], "peers"
    told = json.loads(sys.stdin.readline())
    assert (told["ty"], told["ro"]) == ("ready", "worker"), told
    say("done")
    sys.exit(int(does.split()[-1]))
if "crash" in does:
    os.kill(os.getpid(), signal.SIGSEGV)
time.sleep(600)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a program that plays either role."""
    path = tmp_path / "a folder's" / "pro gram.py"
    path.parent.mkdir()
    path.write_text(PROGRAM)
    return path


def again(
    program: Path, worker: str = "", driver: str = "0", *, timeout: float = 20.0, image: str = "", mounts: bool = False
) -> Again:
    """Return a cell of two programs."""
    parts = tuple(
        Part(
            role,
            role,
            (sys.executable, "-S", str(program), role, does),
            {"SAID": 'it\'s $HOME and "more"', "INTEROP_ROLE": role},
            image,
            program.parent,
        )
        for role, does in (("worker", worker), ("driver", driver))
    )
    verdict = Verdict("failed", "role", "driver", "driver", "first\nsecond $(touch /)", 3)
    result = Result("t/a/b", "digest", verdict, exits={"driver": 3})
    return Again("small", "a-run", cell("t/a/b", timeout=timeout, seed=7), parts, result, {"ty": "x"}, mounts=mounts)


def run(folder: Path, of: Again, *words: str, **env: str) -> procs.Finished:
    """Write what runs a cell again, and run it; nothing may be left."""
    folder.mkdir(exist_ok=True)
    scratch = folder.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    write_repro(folder, of)
    done = procs.run(
        [str(folder / SCRIPT), *words], timeout=60, cwd=folder, env={**os.environ, "TMPDIR": str(scratch), **env}
    )
    assert not list(scratch.iterdir()), done
    assert not programs_of(of), done
    return done


def programs_of(of: Again) -> list[str]:
    """Return the processes that are still there of a cell."""
    word = of.parts[0].argv[2].encode()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if word in words:
            found.append(words.decode())
    return found


def test_the_script_ends_as_the_driver_does(tmp_path: Path, program: Path) -> None:
    """Roles must be started in their order, with their variables, folders and peers; the code is the driver's."""
    done = run(tmp_path / "cell", again(program, driver="3"))
    assert done.code == 3, done
    assert "driver: exit code 3" in done.stdout
    assert "worker: exit code 143" in done.stdout
    assert "it's $HOME and" in done.stdout
    assert str(program.parent) in done.stdout
    assert "in the run: failed; driver 3" in done.stdout


def test_a_driver_that_succeeds_is_a_success(tmp_path: Path, program: Path) -> None:
    """Where the fault has gone, the script must end with 0."""
    assert run(tmp_path / "cell", again(program)).code == 0


def test_roles_find_their_folders_where_they_did_in_the_run(tmp_path: Path, program: Path) -> None:
    """With mounts or without them, a role must find /shared and /logs, also where mounts are not allowed."""
    done = run(tmp_path / "cell", again(program, driver="5", mounts=True))
    assert done.code == 5, done


@pytest.mark.parametrize(
    ("worker", "driver", "code"),
    [("crash", "0", 139), ("early 4", "0", 4), ("early 0", "0", 1), ("", "early 127", 127), ("daemon ignores", "6", 6)],
)
def test_who_ends_the_cell_tells_its_code(tmp_path: Path, program: Path, worker: str, driver: str, code: int) -> None:
    """A role that ends before the driver is done must end the cell; what it forked must be gone."""
    done = run(tmp_path / "cell", again(program, worker, driver))
    assert done.code == code, done


def test_a_cell_whose_time_is_over_ends_with_124(tmp_path: Path, program: Path) -> None:
    """A role that is never ready must be given up after the cell's time."""
    done = run(tmp_path / "cell", again(program, "mute", timeout=1.0))
    assert done.code == 124, done
    assert "driver: was not started" in done.stdout


def test_a_folder_keeps_what_roles_wrote(tmp_path: Path, program: Path) -> None:
    """A folder that is given must have the roles' output and /logs, and none of the script's own files."""
    run(tmp_path / "cell", again(program), "kept")
    kept = tmp_path / "cell" / "kept"
    found = sorted(str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file())
    assert "driver.log" in found
    assert "logs/driver/mine" in found
    assert not [name for name in found if name.endswith((".pid", ".told", ".in", ".ready"))]


def test_a_folder_that_is_there_is_refused(tmp_path: Path, program: Path) -> None:
    """Nothing of somebody else's may be mixed with what a cell leaves."""
    assert run(tmp_path / "cell", again(program), str(tmp_path)).code == 10


def test_an_interrupt_leaves_nothing(tmp_path: Path, program: Path) -> None:
    """TERM for the script must end all roles."""
    folder = tmp_path / "cell"
    folder.mkdir()
    of = again(program, "mute")
    write_repro(folder, of)
    with Popen([str(folder / SCRIPT)], stdout=PIPE) as script:
        for _ in range(200):
            if programs_of(of):
                break
            procs.run(["sleep", "0.05"], timeout=5)
        script.terminate()
        script.communicate(timeout=20)
    assert script.returncode == 143
    assert not programs_of(of)


def test_the_value_of_a_secret_is_named_and_not_written(tmp_path: Path, program: Path) -> None:
    """Neither file may have it; whoever runs the script without it is told its name, and with it the roles have it."""
    of = again(program, driver="2")
    parts = tuple(replace(part, env={**part.env, "API_TOKEN": "s3cr3t"}) for part in of.parts)
    of = replace(of, parts=parts)
    contained = replace(of, parts=tuple(replace(part, image=f"sha256:{'0' * 64}") for part in parts))
    texts = [script_of(of), script_of(contained), compose_of(contained)]
    assert not [text for text in texts if "s3cr3t" in text]
    refused = run(tmp_path / "cell", of)
    assert refused.code == 10
    assert "API_TOKEN" in refused.stderr
    assert run(tmp_path / "cell", of, API_TOKEN="s3cr3t").code == 2  # noqa: S106 - none


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [
        ("API_TOKEN", "x", True),
        ("DB_PASSWORD", "x", True),
        ("AWS_ACCESS_KEY", "x", True),
        ("URL", "http://me:pw@host/", True),
        ("URL", "http://host/", False),
        ("INTEROP_PARAM_TOKEN", "x", False),
        ("SAID", "x", False),
    ],
)
def test_which_variables_are_secret(name: str, value: str, is_one: bool) -> None:
    """A variable is secret by its name, or by a user in its address; those of the contract are not."""
    assert is_secret(name, value) is is_one


def test_the_compose_file_has_all_of_a_role(program: Path) -> None:
    """Images are given by id, words and variables as they were, and Compose must put no variable into them."""
    image = f"sha256:{'a' * 64}"
    of = again(program, image=image)
    of = replace(of, parts=(replace(of.parts[0], memory=1 << 28, cpu=0.5), of.parts[1]))
    worker = yaml.safe_load(compose_of(of))["services"]["worker"]
    assert worker["image"] == image
    assert worker["entrypoint"] == list(of.parts[0].argv)
    assert worker["environment"]["SAID"] == 'it\'s $$HOME and "more"'
    assert worker["environment"]["INTEROP_PEERS"] == "worker=worker driver=driver"
    assert (worker["mem_limit"], worker["cpus"]) == (1 << 28, 0.5)
    assert worker["networks"]["cell"]["aliases"] == ["worker"]


def test_both_kinds_are_right_for_a_shell(tmp_path: Path, program: Path) -> None:
    """A shell must find nothing wrong, whatever is in words and reasons; the head tells what happened, in comments."""
    for image in ("", f"sha256:{'a' * 64}"):
        folder = tmp_path / f"cell{len(image)}"
        folder.mkdir()
        write_repro(folder, again(program, image=image))
        assert procs.run(["sh", "-n", str(folder / SCRIPT)], timeout=10).code == 0
        head = (folder / SCRIPT).read_text().partition("\n\n")[0].splitlines()
        assert all(line.startswith("#") for line in head)
        assert "first second $(touch /)" in " ".join(head)
        assert "harness interop.run --cell t/a/b" in head[-1]
        assert (folder / COMPOSE).exists() == bool(image)
