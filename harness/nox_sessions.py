"""The Nox sessions. This module needs only Nox and the standard library; everything else is in the sessions' own venvs.

A project's noxfile.py imports what it wants: ``from harness.nox_sessions import integration``.
"""

from __future__ import annotations

import atexit
import hashlib
import itertools
import json
import os
import re
import signal
import socket
import sys
import tempfile
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nox
from nox.command import CommandFailed
from nox.project import dependency_groups

from harness import procs
from harness.config.options import TAKERS
from harness.errors import (
    BROKEN_STACK,
    CONFIGURATION,
    ENGINE_UNREACHABLE,
    EXIT_MEANING,
    LEFTOVER,
    TEST_RESIDUE,
    TESTS_FAILED,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

# Nox tells an interrupted child nothing until the first limit has passed, then sends TERM and waits for the second,
# which is longer than any teardown of ours may take.
TELL_AFTER = 0.3
TEARDOWN_BUDGET = 60
INSIDE = "--inside"
STAMP = "harness-requirements"
ENGINES = ("embedded", "compose")  # those whose outcomes are compared

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests", "integration"]


def _terminated(number: int, _: FrameType | None) -> None:
    # As Ctrl-C: by default TERM ends Nox at once and its child is an orphan.
    raise KeyboardInterrupt(signal.Signals(number).name)


signal.signal(signal.SIGTERM, _terminated)


# Of several exit codes, see docs/exit-codes.md.
FIRST_COUNTS = (CONFIGURATION, ENGINE_UNREACHABLE, TESTS_FAILED, BROKEN_STACK, LEFTOVER, TEST_RESIDUE)

_ended: list[int] = []
"""Exit codes of suites that did not pass."""


@atexit.register
def _end_with_the_code_of_the_suite() -> None:
    """Have Nox, which says 1 of whatever was wrong, end with what says more: CI tries some codes again, and not others.

    Of several the first of an order counts, as everywhere.
    """
    codes = [*(code for code in FIRST_COUNTS if code in _ended), *_ended]
    if codes:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(codes[0])  # the only way: what is raised here changes nothing


def _pyproject() -> dict[str, Any]:
    path = Path("pyproject.toml")
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def install(session: nox.Session, *groups: str, extras: str = "", needs: str = "") -> None:
    """Install the project (editable, with ``extras``) and dependency groups, unless the venv has just these.

    Of a project, what it has: it need not be a package, nor have those groups or extras. A project of others gets the
    harness that Nox itself has, too, with the extras ``needs`` of that.
    """
    location = getattr(session.virtualenv, "location", None)
    if location is None:  # --no-venv: whoever calls has what is needed
        return
    document = _pyproject()
    wanted = wanted_packages(document, groups, extras, needs)
    digest = json.dumps([document.get("project"), document.get("build-system"), wanted, sys.version])
    files = [word for word in wanted if word.endswith(".txt")]
    digest = hashlib.sha256(
        "\n".join([digest, *(Path(file).read_text("utf-8") for file in files)]).encode()
    ).hexdigest()
    stamp = Path(location) / STAMP
    if stamp.is_file() and stamp.read_text() == digest:
        return
    if wanted:
        session.install(*wanted)
    stamp.write_text(digest)


_REQUIREMENTS = ("requirements.txt", "requirements-test.txt", "requirements-dev.txt")
_DISTRIBUTION = "integration-harness"


def wanted_packages(document: dict[str, Any], groups: Sequence[str], extras: str, needs: str = "") -> list[str]:
    """Return what the project whose pyproject.toml is ``document`` has installed, as arguments of an installer.

    ``extras`` are of the project, as far as it has them, and ``needs`` of the harness.
    """
    project = document.get("project", {})
    there = [extra for extra in extras.split(",") if extra in project.get("optional-dependencies", {})]
    named = [group for group in groups if group in document.get("dependency-groups", {})]
    needed = list(dependency_groups(document, *named)) if named else []
    if "build-system" in document:
        own = ["-e", f".[{','.join(there)}]" if there else "."]
    else:
        own = list(project.get("dependencies", ()))
        own += [word for file in _REQUIREMENTS if Path(file).is_file() for word in ("-r", file)]
    ours = [] if project.get("name") == _DISTRIBUTION else _this_harness(needs)
    return [*own, *needed, *ours]


def _this_harness(extras: str = "") -> list[str]:
    """Return the requirement of the harness that this is, with extras; [] where it is none that was installed."""
    try:
        installed = distribution(_DISTRIBUTION)
    except PackageNotFoundError:
        return []
    name = f"{_DISTRIBUTION}[{extras}]" if extras else _DISTRIBUTION
    told = json.loads(installed.read_text("direct_url.json") or "{}")
    if "url" not in told:
        return [f"{name}=={installed.version}"]
    version = told.get("vcs_info", {})
    url = f"{version['vcs']}+{told['url']}@{version['commit_id']}" if version else told["url"]
    return [f"{name} @ {url}"]


def run(session: nox.Session, *argv: str, env: dict[str, str] | None = None, codes: Sequence[int] = (0,)) -> None:
    """Run a command that may own an environment: it gets the time it needs to give it back."""
    try:
        session.run(
            *argv,
            env={**(env or {}), **procs.as_parent()},  # should Nox be killed, pytest ends by itself
            success_codes=list(codes),
            interrupt_timeout=TELL_AFTER,
            terminate_timeout=TEARDOWN_BUDGET,
        )
    except KeyboardInterrupt:
        _ended.clear()  # that it was interrupted is what Nox then says
        raise


def _systems() -> dict[str, Any]:
    systems: dict[str, Any] = _pyproject().get("tool", {}).get("harness", {}).get("systems", {})
    return systems


def _chosen(session: nox.Session) -> tuple[list[str], list[str]]:
    """Return the systems that the words after ``--`` choose, and the words that are left for pytest."""
    words, systems = list(session.posargs), _systems()
    if not systems:
        return [""], words
    default = _pyproject().get("tool", {}).get("harness", {}).get("default-system") or next(iter(systems), "")
    if not words or words[0].startswith("-"):
        return [default], words
    name, *rest = words
    if name == "all":
        return list(systems), rest
    if name not in systems:
        session.error(f"system {name!r} is not known; there are: {', '.join(systems)}, all")
    return [name], rest


@nox.session
def tests(session: nox.Session) -> None:
    """The toolkit's own tests. Words after -- go to pytest."""
    install(session, "test", "adopt", extras="all,platform")
    everything = ["tests", "--ignore=tests/test_other_plugins.py", "-n", "auto", "--maxprocesses=4"]
    run(session, "python", "-m", "pytest", *(session.posargs or everything))


# In the process that tests them; those that it starts have them all.
_WITHOUT = ("-p", "no:asyncio", "-p", "no:randomly", "-p", "no:docker")


@nox.session
def plugins(session: nox.Session) -> None:
    """The plugin beside other plugins of pytest."""
    install(session, "test", "plugins")
    run(session, "python", "-m", "pytest", *_WITHOUT, "tests/test_other_plugins.py")


@nox.session
def recipes(session: nox.Session) -> None:
    """This project's files for CI services, with every step run as it is written. Words after -- go to pytest."""
    install(session, "test", extras="all")
    run(session, "python", "-m", "pytest", "tests/recipes/executed.py", "-p", "no:cacheprovider", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """A system's suite: nox -s integration -- [SYSTEM|all] [PYTEST ARGS]. Default: the default system.

    With --inside it runs in a container, within the stack's network. With --engine both it runs on every engine, and
    tests that do not end alike fail the session.
    """
    install(session, "test", extras="all,platform")
    systems, words = _chosen(session)
    both, words = _engine_both(words)
    if both and INSIDE in words:
        session.error("--inside needs a network of containers, which engine embedded has not; leave out --engine both")
    if both:
        for name in systems:
            _on_both(session, name, words)
        return
    run_suites(session, systems, words)


@nox.session
def subjects(session: nox.Session) -> None:
    """The forwarder suite with each other subject of its table: nox -s subjects -- [SUBJECT] [PYTEST ARGS]."""
    install(session, "test", extras="all")
    table = tomllib.loads(Path("integration_tests/forwarder/subjects.toml").read_text(encoding="utf-8"))
    words = list(session.posargs)
    chosen = [words.pop(0)] if words and words[0] in table else [name for name in table if name != "ours"]
    codes = {name: _suite(session, "forwarder", words, {"FORWARDER_SUBJECT": name}) for name in chosen}
    if problems := [f"{name}: {_exit(code)}" for name, code in codes.items() if code]:
        session.error("; ".join(problems))


@nox.session
def long(session: nox.Session) -> None:
    """The tests of a system that are marked long, for ten minutes each unless --long-run says otherwise."""
    install(session, "test", extras="all,platform")
    systems, words = _chosen(session)
    both, words = _engine_both(words)
    problems = []
    for name in systems:
        for engine in ENGINES if both else ("",):
            chosen = [f"--engine={engine}"] if engine else []
            if code := _suite(session, name, ["-m", "long", "--long-run=10m", *chosen, *words]):
                problems.append(f"{name} {engine}: {_exit(code)}")
    if problems:
        session.error("; ".join(problems))


def _exit(code: int) -> str:
    return f"harness exit: {code} ({EXIT_MEANING.get(code, 'pytest')})"


def run_suite(session: nox.Session, name: str, words: Sequence[str]) -> None:
    """Run the suite of a system in a session of a project's own; its exit code is that of Nox, and its last words.

    Args:
        session: the session.
        name: of the system, "" in a project that declares none.
        words: for pytest.
    """
    run_suites(session, [name], words)


def run_suites(session: nox.Session, names: Sequence[str], words: Sequence[str]) -> None:
    """Run the suites of systems, each whatever came of those before it, unless one was ended by a signal."""
    problems = []
    for name in names:
        if code := _suite(session, name, words):
            _ended.append(code)
            problems.append(f"{name}: {_exit(code)}" if len(names) > 1 else _exit(code))
            if code < 0 or code > 128:  # noqa: PLR2004 - no further one is wanted
                break
    if problems:
        session.error("; ".join(problems))


def _suite(session: nox.Session, name: str, words: Sequence[str], env: dict[str, str] | None = None) -> int:
    """Run the suite of a system and return its exit code."""
    argv = ["python", "-m", "pytest", *([_systems()[name]["tests"], f"--system={name}"] if name else []), *words]
    if INSIDE in words:
        ours, others = split_words(words)
        argv = ["harness", "test", *([f"--system={name}"] if name else []), *ours, "--", *others]
    try:
        run(session, *argv, env=env)
    except CommandFailed as error:
        return error.return_code or 1
    return 0


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words for ``harness test --inside``, and those for pytest in the container, in their order.

    Options that both take, such as ``--engine``, are for the former.
    """
    flags = {f"--{name.replace('_', '-')}" for name in TAKERS["test"]}
    ours: list[str] = []
    others: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in flags:
            ours += [word, *([value] if (value := next(rest, None)) is not None else [])]
        elif word == INSIDE or word.partition("=")[0] in flags:
            ours.append(word)
        else:
            others.append(word)
    return ours, others


def _engine_both(words: Sequence[str]) -> tuple[bool, list[str]]:
    """Return whether ``words`` ask for both engines, and the words without that."""
    for at, word in enumerate(words):
        if word == "--engine=both":
            return True, [*words[:at], *words[at + 1 :]]
        if [*words[at : at + 2]] == ["--engine", "both"]:
            return True, [*words[:at], *words[at + 2 :]]
    return False, list(words)


def _on_both(session: nox.Session, name: str, words: Sequence[str]) -> None:
    """Run the suite of a system on each engine, whatever the first said, and compare what came out."""
    if any(word.startswith(("-n", "--numprocesses", "--dist")) for word in words):
        session.error("--engine both compares whole runs; with workers each has a run of its own")
    problems = []
    folders = [Path("logs", "parity", name, engine) for engine in ENGINES]
    for folder in folders:
        # Should this run end before it has a folder, an older one must not be taken for it.
        (folder / "latest").unlink(missing_ok=True)
        if code := _suite(session, name, [*words, f"--engine={folder.name}"], {"HARNESS_LOGS": str(folder)}):
            problems.append(f"{folder.name}: {_exit(code)}")
    compared = ["python", "-m", "harness.results.parity", f"--system={name}", *map(str, folders)]
    try:
        run(session, *compared, *(["--part"] if words else []))
    except CommandFailed:
        problems.append("the engines do not agree, see the table")
    if problems:
        session.error("; ".join(problems))


_PODMANS = {"here": (), "trixie": ("trixie",)}  # this machine's own, and that of a newer release of Debian
_NOT_HERE = 3
_START_BUDGET, _STOP_BUDGET = 2400.0, 180.0


@nox.session
def podman(session: nox.Session) -> None:
    """The forwarder suite on a Podman of its own: nox -s podman -- [here|trixie] [PYTEST ARGS]. Default: each.

    One that this machine cannot have is left out, with the reason.
    """
    install(session, "test", extras="all")
    words = list(session.posargs)
    chosen = [words.pop(0)] if words and words[0] in _PODMANS else list(_PODMANS)
    problems, missing = [], []
    for name in chosen:
        faults, reason = _with_podman(session, name, words)
        problems += [f"{name}: {fault}" for fault in faults]
        if reason:
            session.warn(f"Podman ({name}) is left out: {reason}")
            missing.append(f"{name}: {reason}")
    if problems:
        session.error("; ".join(problems))
    if len(missing) == len(chosen):
        session.skip("; ".join(missing))


def _with_podman(session: nox.Session, name: str, words: Sequence[str]) -> tuple[list[str], str]:
    """Run the forwarder suite on a Podman; return what was wrong, and why there can be none here, "" where it can."""
    faults, missing = [], ""
    with tempfile.TemporaryDirectory(prefix="harness-podman-") as scratch:
        argv, folder = [sys.executable, ".ci/podman.py"], str(Path(scratch, "podman"))
        try:
            started = procs.run([*argv, "start", folder, *_PODMANS[name]], timeout=_START_BUDGET, env=os.environ)
            reason = (started.stderr.strip().splitlines() or [started.ending(_START_BUDGET)])[-1].removeprefix(
                "engine: "
            )
            if started.code == _NOT_HERE:
                missing = reason
            elif started.code != 0:
                faults.append(reason)
            elif code := _on_podman(session, started.stdout.strip(), words):
                faults.append(_exit(code))
        finally:
            stopped = procs.run([*argv, "stop", folder], timeout=_STOP_BUDGET, env=os.environ)
            left = [line for line in stopped.stderr.splitlines() if line.endswith(" was left")]
            faults += left or ([stopped.ending(_STOP_BUDGET)] if stopped.code != 0 else [])
    return faults, missing


def _on_podman(session: nox.Session, host: str, words: Sequence[str]) -> int:
    """Run the forwarder suite on an engine, after making the base image there; return its exit code."""
    env = {"DOCKER_HOST": host, "HARNESS_ENGINE": "compose"}
    run(session, "harness", "images.base", env=env)
    return _suite(session, "forwarder", words, env)


@nox.session
def remote(session: nox.Session) -> None:
    """A system's suite inside its network, on an engine that might as well be on another machine. Root, dockerd.

    nox -s remote -- [SYSTEM] [PYTEST ARGS]; its images are built on the engine in use, and go there in a file.
    """
    install(session, "test", extras="all")
    words = list(session.posargs)
    name = words.pop(0) if words and words[0] in _systems() else "search"
    with tempfile.TemporaryDirectory(prefix="harness-remote-") as scratch:
        archive, folder = str(Path(scratch, "images.tar.zst")), str(Path(scratch, "engine"))
        run(session, "harness", "images.save", "--all", f"--system={name}", "--engine=compose", f"--file={archive}")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        argv = [sys.executable, ".ci/remote_engine.py"]
        started = procs.run([*argv, "start", folder, port], timeout=_START_BUDGET, env=os.environ)
        try:
            if started.code != 0:
                session.error((started.stderr.strip().splitlines() or [started.ending(_START_BUDGET)])[-1])
            there = {"DOCKER_HOST": started.stdout.strip(), "HARNESS_ENGINE": "compose"}
            run(session, "harness", "images.load", f"--file={archive}", env=there)
            code = _suite(session, name, [INSIDE, *words], there)
        finally:
            stopped = procs.run([*argv, "stop", folder], timeout=_STOP_BUDGET, env=os.environ)
    if code:
        session.error(_exit(code))
    if stopped.code != 0:
        session.error(f"the engine was not removed: {stopped.stderr.strip()}")


@nox.session
def mutants(session: nox.Session) -> None:
    """Run each system's suite against subjects that are broken on purpose; every one must be caught."""
    install(session, "test", extras="all,platform")
    systems, words = _chosen(session)
    for name in systems:
        if session.posargs[:1] == ["all"] and not Path("integration_tests", name, "mutants.toml").is_file():
            session.log(f"system {name} declares no mutants")
            continue
        run(session, "python", "-m", "integration_tests.mutants", name, *words, env={"PYTHONPATH": str(Path.cwd())})


@nox.session
def interop(session: nox.Session) -> None:
    """Interoperability matrices: nox -s interop -- [MATRIX ...|all] [--engine both] [ARGS]. Default: all."""
    install(session, extras="all,interop")
    both, words = _engine_both(session.posargs)
    known = _pyproject().get("tool", {}).get("harness", {}).get("matrices", {})
    names = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    words = words[len(names) :]
    if unknown := [name for name in names if name not in (*known, "all")]:
        session.error(f"matrix {unknown[0]!r} is not known; there are: {', '.join(known)}, all")
    chosen = list(known) if not names or "all" in names else names
    problems = []
    for name in chosen or [""]:
        for engine in ENGINES if both else ("",):
            argv = ["interop.run", *([f"--matrix={name}"] if name else []), *([f"--engine={engine}"] if engine else [])]
            try:
                run(session, "harness", *argv, *words)
            except CommandFailed as error:
                problems.append(f"{f'{name} {engine}'.strip()}: {_exit(error.return_code or 1)}")
    if problems:
        session.error("; ".join(problems))


@nox.session
def images(session: nox.Session) -> None:
    """Make the base image that others are built on; or: nox -s images -- save|load FILE, from one machine to another.

    ``save`` builds the images of every system before. A base is made for machines that reach no image registry.
    """
    words = list(session.posargs)
    if words[:1] not in (["save"], ["load"]):
        install(session)
        run(session, "harness", "images.base", *words)
        return
    install(session, "test", extras="all", needs="archives")
    verb, *rest = words
    if len(rest) != 1 or rest[0].startswith("-"):
        session.error(f"nox -s images -- {verb} FILE: one name of a file was needed")
    run(session, "harness", f"images.{verb}", f"--file={rest[0]}", *(["--all"] if verb == "save" else ()))


@nox.session
def bench(session: nox.Session) -> None:
    """Measure how fast it is, beside others: nox -s bench -- [--figures A,B] [--rounds N] [--quick] [--no-history]."""
    install(session, "test", "bench", extras="all")
    run(session, "python", "-m", "bench", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Write the tables of options and of Compose's keys in the docs."""
    install(session, "test")
    session.run("python", "docs/tables.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, import-linter, and whether versions that are written in several places agree."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", silent=True)
    session.run("harness", "pins.check", silent=True)


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    install(session, "types", "test", extras="all")
    session.run("mypy")
    # Apart, because both test folders have a conftest.py, and neither is a package.
    session.run("mypy", "tests")


# The toolkit's own tests that need neither an engine nor what the extras bring.
_MINIMUM_TESTS = (
    "test_clock_errors",
    "config/test_config",
    "engine/test_compose_plan",
    "engine/test_embedded_plan",
    "engine/test_rendering",
    "stack/test_stack_model",
    "stack/test_stack_reading",
)
_MINIMUM_RUNS = (
    "test_entry",
    "test_plugin",
    "engine/test_attach",
    "engine/test_local",
    "keeper/test_keeper",
    "results/test_results_reporting",
    "runs/test_debugger",
    "runs/test_lifecycle",
)


def lowest(requirements: Sequence[str]) -> list[str]:
    """Return each requirement at its lower bound: ``name==bound`` for ``name>=bound``, others as they are."""
    return [
        re.sub(r"^([A-Za-z0-9._-]+)(\[[^]]*\])?\s*>=\s*([0-9][^,;\s]*).*", r"\1\2==\3", one) for one in requirements
    ]


@nox.session(python="3.11")
def minimums(session: nox.Session) -> None:
    """The toolkit's tests with the oldest Python and the oldest versions of everything that pyproject.toml allows."""
    document = _pyproject()
    project = document["project"]
    bounds = lowest([*project["dependencies"], *document["dependency-groups"]["test"]])
    session.install("-e", ".", *bounds)
    names = [f"tests/{name}.py" for name in (*_MINIMUM_TESTS, *_MINIMUM_RUNS)]
    # Older versions warn of what newer Pythons deprecate; that is theirs.
    run(session, "python", "-m", "pytest", "-W", "default", *(session.posargs or names))


@nox.session
def campaign(session: nox.Session) -> None:
    """Kill runs at random moments: nothing may be left. nox -s campaign -- [--engine E] [--kills N] [--seed N].

    Then those of a matrix, a tenth as often: gone on with, they must find what an undisturbed one does.
    """
    install(session, "test", extras="all")
    run(session, "python", "bench/kills.py", *session.posargs)
    run(session, "python", "-m", "bench.matrix_kills", "--tenth", *session.posargs)


@nox.session(python=False)
def nightly(session: nox.Session) -> None:
    """What takes too long for every change: minimums, plugins, mutants, matrices, kills, engines, subjects, CI."""
    for name, words in (
        ("minimums", ()),
        ("plugins", ()),
        ("mutants", ("all",)),
        ("interop", ("all", "--engine", "both")),
        ("long", ("forwarder", "--engine", "both")),
        ("campaign", ("--kills", "300")),
        ("integration", ("all", "--engine", "both")),
        ("subjects", ()),
        ("podman", ()),
        ("remote", ()),
        ("recipes", ()),
    ):
        session.notify(name, words)
