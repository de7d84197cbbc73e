"""Settings: command line > ``HARNESS_*`` > ``[tool.harness]`` > default, each with its origin."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config.matrices import Places, matrix_file
from harness.config.notices import Notices, read_notices
from harness.config.options import OPTIONS, VARIABLE_NAME, variable
from harness.config.pins import read_pins
from harness.config.residue import read_residue
from harness.config.sources import COMPOSE_FILES, with_env_file
from harness.config.subjects import read_subjects
from harness.durations import parse_duration
from harness.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.config.pins import Pin
    from harness.config.residue import ResidueSettings
    from harness.config.sources import Sources
    from harness.config.subjects import Subject

TOP_KEYS: dict[str, type] = {
    "default-system": str,
    "systems": dict,
    "engine": str,
    "keep": str,
    "stack-folder": str,
    "logs": str,
    "addresses": str,
    "networks": str,
    "attach": dict,
    "env": dict,
    "overlays": dict,
    "subjects": dict,
    "pins": dict,
    "notices": dict,
    "matrices": dict,
    "residue": dict,
}
TOP_KEYS |= {
    option.key: option.kind
    for option in OPTIONS.values()
    if option.key and "." not in option.key and option.key not in TOP_KEYS
}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
SYSTEM_KEYS = {
    "tests": str,
    "stacks": list,
    "default": str,
    "differences": dict,
    "inside": str,
    "inside-command": list,
    "inside-reports": str,
    "needs": list,
}


@dataclass(frozen=True)
class System:
    """A system under test, ``[tool.harness.systems.<name>]``.

    Attributes:
        name: its name.
        tests: folder of its suite.
        stacks: names of its stacks.
        default: the stack used when none is named, "" when there is none.
        differences: test -> why its outcome may differ between engines.
        inside: the service in whose container the suite runs with ``--inside``, "" for none.
        inside_command: the suite as a command there, () for pytest with the folder of the suite.
        inside_reports: what is copied out of the container after it, "" for nothing more.
        needs: programs beside Python that its local processes need.
    """

    name: str
    tests: Path
    stacks: tuple[str, ...]
    default: str
    differences: Mapping[str, str] = field(default_factory=dict)
    inside: str = ""
    inside_command: tuple[str, ...] = ()
    inside_reports: str = ""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """What a run was asked to do.

    Attributes:
        root: the project's folder.
        here: the folder that the user is in.
        state: the state folder.
        keys: where the key may be with which this user's things on an engine are sealed, the best place first.
        logs: folder of run folders.
        stack_folder: where ``<stack>.yaml`` files are.
        engine: ``auto`` or an engine's name.
        keep: never, on-failure or always.
        system: the chosen system, None in a project that declares none.
        systems: all of them.
        stack: the stack asked for (a name, or a file), "" when none was.
        addresses: where services are reached: ports ``published`` at an address for each, or on ``localhost``; or at
            ``container`` addresses.
        networks: the private range that environments' container networks are taken from.
        profiles: active profiles.
        local_build: folder of a subject that was built by hand and runs as a local process, None for none.
        wait_to_attach_debugger: whether subjects that are local processes are held until a debugger has come.
        local: service -> the command line with which it runs as a local process, whatever its stack says.
        attach: stack -> ``SERVICE:PORT`` -> ``host:port``, for stacks that somebody else started.
        env: variables for tests and commands, with placeholders for endpoints; None without such a table.
        overlays: Compose file -> the file that is laid over it wherever it is read.
        pull: whether images that the engine lacks are pulled: ``missing``, ``never``.
        locked: whether images other than those of ``images.lock`` are refused.
        build: whether images are built: ``changed`` as far as needed, ``always`` also for what is up, ``never``.
        wait_timeout: seconds for a stack to settle in place of what its file says, None for that.
        ttl: seconds that a kept environment may stay unused.
        keep_runs: how many of the newest runs have their folders left.
        steady: seconds that a service which cannot be asked must have run to count as one that runs.
        residue: what is done about what tests leave.
        restart_changed: whether services of what is up that changed since they were started are made again by a run.
        strict_variables: whether a variable of a stack file that is not set and has no default is an error.
        subjects: subject -> where its image comes from, other than its file says.
        pins: what must be the same wherever it is written.
        matrices: interoperability matrix -> its file.
        matrix: the one asked for (a name, a file or a folder), "" when none was.
        environ: the environment, for Compose and for services.
        origins: setting name -> where its value came from.
        inside: the service in whose container a command runs, within the stack's network; "" for none.
        inside_timeout: seconds that the command may take there, None for as long as it takes.
        notices: to whom it is told how runs end.
        notices_state: the file in which it is kept what they were told.
        test_timeout: seconds that a test may take, None for as long as it takes.
        reruns: how often a test that failed is run again.
        quarantine: the file of tests whose failures do not count; it need not be there unless it was named.
        flakes: the file in which it is kept how tests ended.
    """

    root: Path
    here: Path
    state: Path
    keys: tuple[Path, ...]
    logs: Path
    stack_folder: Path
    engine: str
    keep: str
    system: System | None
    systems: tuple[System, ...]
    stack: str
    addresses: str
    networks: str
    profiles: tuple[str, ...]
    local_build: Path | None
    wait_to_attach_debugger: bool
    local: Mapping[str, tuple[str, ...]]
    attach: Mapping[str, Mapping[str, str]]
    env: Mapping[str, str] | None
    overlays: Mapping[Path, Path]
    pull: str
    build: str
    locked: bool
    wait_timeout: float | None
    ttl: float
    keep_runs: int
    steady: float
    strict_variables: bool
    residue: ResidueSettings
    restart_changed: bool
    subjects: Mapping[str, Subject]
    pins: tuple[Pin, ...]
    matrices: Mapping[str, Path]
    matrix: str
    environ: Mapping[str, str]
    origins: Mapping[str, str]
    inside: str = ""
    inside_timeout: float | None = None
    notices: Notices = field(default_factory=Notices)
    notices_state: Path = Path("notices.json")
    test_timeout: float | None = None
    reruns: int = 0
    quarantine: Path = Path("quarantine.toml")
    flakes: Path = Path("flakes.json")

    def matrix_file(self) -> Path:
        """Return the file or folder of the matrix that was asked for, else of the only declared one, or of this folder.

        Raises:
            ConfigError: it is not known, or several are and none was asked for.
        """
        places = Places(self.here, self.root, self.matrices)
        return matrix_file(self.matrix, self.origins["matrix"], places)

    def stack_files(self, name: str) -> tuple[Path, ...]:
        """Return the Compose files of a stack, given by name or as files (has ``/`` or ends in .yml or .yaml).

        Several are written as in ``COMPOSE_FILE``, with a colon between them: files that are laid over the first, which
        may be a name. Those that ``overlays`` has for them come last.

        Raises:
            ConfigError: there is none of that name; the error lists those there are.
        """
        files = self._files_of(name)
        over = [self.overlays[path] for path in (file.resolve() for file in files) if path in self.overlays]
        return (*files, *(file for file in over if file not in files))

    def _files_of(self, name: str) -> tuple[Path, ...]:
        if _is_file(name) and (self.root / name).is_file():  # its path may have a colon
            return (self.root / name,)
        first, *over = [part for part in name.split(os.pathsep) if part] or [name]
        return (self._file(first) if _is_file(first) else self._named(first), *map(self._file, over))

    def _file(self, name: str) -> Path:
        path = self.root / name
        if not _is_file(name):
            raise ConfigError(
                f"Stack {name!r} cannot be laid over another: only Compose files can",
                hint=f"name its file by its path, such as {self.stack_folder / name}.yaml",
            )
        if not path.is_file():
            raise ConfigError(f"Compose file {path} does not exist")
        return path

    def _named(self, name: str) -> Path:
        for suffix in (".yaml", ".yml"):
            path = self.stack_folder / f"{name}{suffix}"
            if path.is_file():
                return path
        known = sorted({path.stem for path in self.stack_folder.glob("*.y*ml")})
        raise ConfigError(
            f"Stack {name!r} is not known; there are: {', '.join(known) or 'none'}{nearest(name, known)}",
            hint=f"write {self.stack_folder / name}.yaml, or name a Compose file by its path",
        )

    def default_stack(self) -> str:
        """Return the stack to use when a test or task names none.

        Raises:
            ConfigError: nothing is configured and there is not exactly one candidate.
        """
        return self.choose_stack()[0]

    def choose_stack(self) -> tuple[str, str]:
        """Return ``default_stack`` and where it comes from. Raises ConfigError as that does."""
        if self.stack:
            return self.stack, self.origins["stack"]
        if self.system and self.system.default:
            return self.system.default, f"default of system {self.system.name!r}"
        if not self.system and self.environ.get("COMPOSE_FILE"):
            return self.environ["COMPOSE_FILE"], self.origins.get("COMPOSE_FILE", "COMPOSE_FILE")
        here = next((name for name in COMPOSE_FILES if (self.root / name).is_file()), "")
        if not self.system and here:
            stem, _, suffix = here.rpartition(".")
            over = [f"./{stem}.override.{end}" for end in dict.fromkeys((suffix, "yaml", "yml"))]
            files = [f"./{here}", *(name for name in over if (self.root / name).is_file())][:2]
            return os.pathsep.join(files), "Compose's default name"
        candidates = (
            self.system.stacks if self.system else tuple(sorted(path.stem for path in self.stack_folder.glob("*.y*ml")))
        )
        if len(candidates) == 1:
            return candidates[0], "the only one"
        choice = "give --stack NAME, or set default in [tool.harness.systems.<system>]"
        if not self.system and self.systems:
            names = "|".join(system.name for system in self.systems)
            choice = f"give --system {names}, --stack NAME, or set default-system in [tool.harness]"
        raise ConfigError(
            f"No stack was named and none is the default; there are: {', '.join(candidates) or 'none'}",
            hint=choice
            if candidates
            else f"`harness new --stack NAME` makes one in {self.root}; or go to a folder with a Compose file",
        )


def _is_file(stack: str) -> bool:
    return "/" in stack or stack.endswith((".yml", ".yaml"))


def _check(table: Mapping[str, Any], keys: Mapping[str, type], where: str) -> list[str]:
    problems = []
    for key, value in table.items():
        if key not in keys:
            problems.append(f"{where}: key {key!r} is not known{nearest(key, keys)}")
        elif not isinstance(value, keys[key]) or (isinstance(value, bool) and keys[key] is not bool):
            problems.append(f"{where}: {key} is {type(value).__name__} {value!r}, a {keys[key].__name__} was needed")
    return problems


def _check_inside(table: Mapping[str, Any], where: str) -> list[str]:
    """Return what is wrong with how the suite of a system runs in a container."""
    words, path, problems = table.get("inside-command", []), table.get("inside-reports", "/"), []
    if isinstance(words, list) and not all(isinstance(word, str) and "\0" not in word for word in words):
        problems.append(f"{where}: inside-command is {words!r}, a list of words was needed")
    if isinstance(path, str) and not path.startswith("/"):
        problems.append(f"{where}: inside-reports is {path!r}, the absolute path of a file or folder there was needed")
    more = [key for key in ("inside-command", "inside-reports") if key in table]
    if more and not table.get("inside"):
        problems.append(f"{where}: {more[0]} says nothing without `inside`, the service in which the suite runs")
    return problems


def _check_needs(table: Mapping[str, Any], where: str) -> list[str]:
    """Return what is wrong with what the local processes of a system need."""
    needs = table.get("needs", [])
    if isinstance(needs, list) and not all(isinstance(word, str) and word for word in needs):
        return [f"{where}: needs is {needs!r}, a list of programs was needed"]
    return []


def _systems(sources: Sources) -> tuple[System, ...]:
    where = f"{sources.pyproject}: [tool.harness]"
    problems = _check(sources.table, TOP_KEYS, where)
    tables = sources.table.get("systems", {})
    if isinstance(tables, dict):
        for name, table in tables.items():
            if isinstance(table, dict):
                problems += _check(table, SYSTEM_KEYS, f"{where[:-1]}.systems.{name}]")
                problems += _check_inside(table, f"{where[:-1]}.systems.{name}]")
                problems += _check_needs(table, f"{where[:-1]}.systems.{name}]")
            else:
                problems.append(f"{where}: systems.{name} is no table")
    if problems:
        raise ConfigError.of(problems)
    return tuple(
        System(
            name=name,
            tests=sources.root / table.get("tests", name),
            stacks=tuple(map(str, table.get("stacks", ()))),
            default=table.get("default", ""),
            differences=table.get("differences", {}),
            inside=table.get("inside", ""),
            inside_command=tuple(map(str, table.get("inside-command", ()))),
            inside_reports=table.get("inside-reports", ""),
            needs=tuple(table.get("needs", ())),
        )
        for name, table in tables.items()
    )


class _Values:
    """The text of each option from the first source that has one, and where that was.

    All methods raise ConfigError.
    """

    def __init__(self, sources: Sources, options: Mapping[str, str | None]) -> None:
        self.sources = sources
        self.options = options
        self.origins: dict[str, str] = {}

    def text(self, name: str, default: str | None = None) -> str:
        """Return the text of an option. Raises ConfigError when only some texts are valid, and it is none of them."""
        option = OPTIONS[name]
        for value, origin in (
            (self.options.get(name), "command line"),
            (self.sources.environ.get(variable(name)), variable(name)),
            (self._in_table(option.key), str(self.sources.pyproject)),
        ):
            if value or type(value) is int:  # 0 is a value, False is none
                self.origins[name], text = origin, str(value)
                break
        else:
            self.origins[name], text = "default", option.default if default is None else default
        if option.valid and text not in option.valid:
            raise ConfigError(
                f"{self._named(name, text)} is not known; valid: {', '.join(option.valid)}{nearest(text, option.valid)}"
            )
        return text

    def _in_table(self, key: str) -> object:
        """Return the value of a key, which may be one of a table in the table."""
        table: object = self.sources.table
        for part in key.split("."):
            table = table.get(part) if isinstance(table, dict) else None
        return table

    def _named(self, name: str, text: object) -> str:
        return f"{OPTIONS[name].named} {text!r} ({self.origins[name]})"

    def seconds(self, name: str) -> float | None:
        """Return a duration, None for none; 0 is none where that is the default."""
        text = self.text(name)
        if not text or text == OPTIONS[name].default == "0":
            return None
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            where = "" if self.origins[name] == "command line" else f" ({self.origins[name]})"
            raise ConfigError(f"{OPTIONS[name].named} {text!r}{where}: {error}") from error
        if seconds <= 0:
            raise ConfigError(f"{self._named(name, text)} is no time; more than 0 was needed")
        return seconds

    def count(self, name: str, *, least: int = 1) -> int:
        """Return a whole number from ``least`` on."""
        text = self.text(name)
        if not text.isdecimal() or int(text) < least:
            raise ConfigError(f"{self._named(name, text)} is no whole number from {least} on")
        return int(text)

    def truth(self, name: str) -> bool:
        """Return whether it is true."""
        text = self.text(name)
        if text.lower() not in (*_TRUE, *_FALSE):
            valid = ", ".join((*_TRUE, *_FALSE))
            raise ConfigError(f"{self._named(name, text)} is neither true nor false; valid: {valid}")
        return text.lower() in _TRUE

    def private_range(self, name: str) -> str:
        """Return a private range of addresses of at least a /24."""
        text, example = self.text(name), OPTIONS[name].default
        try:
            network = ipaddress.IPv4Network(text)
        except ValueError as error:
            raise ConfigError(f"{self._named(name, text)} is none: {error}; such as {example}") from error
        if not network.is_private or network.is_loopback or network.prefixlen > 24:  # noqa: PLR2004 - an environment gets a /24
            raise ConfigError(f"{self._named(name, text)} is no private one of at least a /24; such as {example}")
        return text

    def folder(self, name: str) -> Path | None:
        """Return a folder that exists, None for none."""
        text = self.text(name)
        path = self.sources.root / text if text else None
        if path and not path.is_dir():
            problem = "is no folder" if path.exists() else "does not exist; a folder was needed"
            raise ConfigError(f"{OPTIONS[name].named} {path} ({self.origins[name]}) {problem}")
        return path

    def profiles(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """Return the profiles to activate; where no source of ours has any, those that Compose is told."""
        text = self.text("profile", environ.get("COMPOSE_PROFILES", ""))
        if text and self.origins["profile"] == "default":
            self.origins["profile"] = self.origins.get("COMPOSE_PROFILES", "COMPOSE_PROFILES")
        return tuple(profile.strip() for profile in text.split(",") if profile.strip())

    def system(self, systems: Sequence[System]) -> System | None:
        """Return the system that was chosen, or the only one; None for none."""
        name = self.text("system")
        chosen = {system.name: system for system in systems}
        if name and name not in chosen:
            raise ConfigError(
                f"System {name!r} ({self.origins['system']}) is not known; there are: {', '.join(chosen) or 'none'}"
                f"{nearest(name, list(chosen))}"
            )
        return chosen[name] if name else systems[0] if len(systems) == 1 else None

    def logs(self) -> Path:
        """Return the folder of run folders: the one chosen; for a checkout that cannot be written one of its own."""
        root = self.sources.root
        path = root / self.text("logs")
        there = path if path.exists() else root
        if self.origins["logs"] == "default" and not os.access(there, os.W_OK):
            self.origins["logs"] = f"default, since {there} cannot be written"
            return self.sources.state / "logs" / hashlib.sha256(str(root).encode()).hexdigest()[:16]
        return path

    def notices_state(self) -> Path:
        """Return the file of what was told: the one chosen, else one of this checkout, beside the key of its user.

        That is the first of the places of that key that can be written; it survives runs and their folders.
        """
        sources, text = self.sources, self.text("notices_state")
        if text:
            return sources.root / text
        folders = [place.parent for place in sources.keys]
        folder = next((folder for folder in folders if _can_be_written(folder)), folders[-1])
        digest = hashlib.sha256(os.fsencode(sources.root.resolve())).hexdigest()[:16]
        return folder / "notices" / f"{sources.root.name}-{digest}.json"

    def flakes(self) -> Path:
        """Return the ledger of flakes: the file chosen, else one of this checkout, where the user's own state is kept.

        That is the first of the places of the user's key that can be written; it survives runs, logs and checkouts.
        """
        sources, text = self.sources, self.text("flakes")
        if text:
            return sources.root / text
        folders = [place.parent for place in sources.keys]
        folder = next((folder for folder in folders if _can_be_written(folder)), folders[-1])
        digest = hashlib.sha256(os.fsencode(sources.root.resolve())).hexdigest()[:16]
        return folder / "flakes" / f"{sources.root.name}-{digest}.json"


def _can_be_written(folder: Path) -> bool:
    """Return whether a folder, or the nearest above it that is there, can be written to."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK)


def _local(lines: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return service -> command line for ``NAME=COMMAND LINE`` texts."""
    commands: dict[str, tuple[str, ...]] = {}
    for line in lines:
        name, equals, command = line.partition("=")
        try:
            words = tuple(shlex.split(command))
        except ValueError as error:
            raise ConfigError(f"--local {line!r}: the command line cannot be split: {error}") from error
        if not (name and equals and words):
            raise ConfigError(f"--local {line!r} is no NAME=COMMAND LINE; such as --local 'web=./server --port 80'")
        if name in commands:
            raise ConfigError(f"--local gives service {name!r} twice")
        commands[name] = words
    return commands


def _attach(sources: Sources) -> dict[str, dict[str, str]]:
    where, tables = f"{sources.pyproject}: [tool.harness.attach", {}
    for stack, table in sources.table.get("attach", {}).items():
        if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
            raise ConfigError(f'{where}.{stack}] is no table of "SERVICE:PORT" = "host:port"')
        tables[stack] = dict(table)
    return tables


def _matrices(sources: Sources) -> dict[str, Path]:
    where, files = f"{sources.pyproject}: [tool.harness.matrices]", {}
    problems = []
    for name, file in sources.table.get("matrices", {}).items():
        if not isinstance(file, str):
            problems.append(
                f"{where}: {name} is {type(file).__name__} {file!r}, the path of an interop.toml was needed"
            )
        else:  # whether it is there is told to whoever asks for it: a copy of the project may be without it
            files[name] = sources.root / file
    if problems:
        raise ConfigError.of(problems)
    return files


def _env(sources: Sources) -> dict[str, str] | None:
    """Return the variables for tests and commands, None without a table of them."""
    if "env" not in sources.table:
        return None
    where, table = f"{sources.pyproject}: [tool.harness.env]", sources.table["env"]
    problems = [f"{where}: {name!r} is no name of a variable" for name in table if not VARIABLE_NAME.fullmatch(name)]
    problems += _check(table, dict.fromkeys(table, str), where)
    problems += [f"{where}: {name} has a NUL" for name, value in table.items() if "\0" in str(value)]
    if problems:
        raise ConfigError.of(problems)
    return dict(table)


def _overlays(sources: Sources, *, unwritten: bool) -> dict[Path, Path]:
    where = f"{sources.pyproject}: [tool.harness.overlays]"
    found = {}
    for file, over in sources.table.get("overlays", {}).items():
        if not isinstance(over, str):
            raise ConfigError(
                f"{where}: {file!r} is {type(over).__name__} {over!r}, the path of a Compose file was needed"
            )
        if not (sources.root / file).is_file():
            raise ConfigError(
                f"{where}: file {file!r} does not exist in {sources.root}",
                hint="write its name as it is, or remove the line",
            )
        if not (sources.root / over).is_file():
            if unwritten:
                continue
            raise ConfigError(
                f"{where}: file {over!r} does not exist in {sources.root}",
                hint=f"`harness adopt --compose {shlex.quote(file)} --write` writes it anew, or remove the line",
            )
        found[(sources.root / file).resolve()] = sources.root / over
    return found


def load_settings(
    sources: Sources,
    options: Mapping[str, str | None] | None = None,
    *,
    local: Sequence[str] = (),
    unwritten: bool = False,
) -> Settings:
    """Combine ``options`` with the other sources.

    Options are those of ``harness.config.options`` but ``local``; None and "" are not given. ``local`` are
    ``NAME=COMMAND LINE`` texts. With ``unwritten`` an overlay that does not exist is passed over, for it to be written.

    Raises:
        ConfigError: a key or value is not known; all problems of the table are reported together.
    """
    systems = _systems(sources)
    environ, from_file = with_env_file(sources)
    values = _Values(sources, options or {})
    values.origins |= from_file
    return Settings(  # what is wrong is reported in this order
        root=sources.root,
        here=sources.here or sources.root,
        state=sources.state,
        keys=sources.keys,
        stack_folder=sources.root / str(sources.table.get("stack-folder", "compose")),
        systems=systems,
        environ=environ,
        engine=values.text("engine"),
        keep=values.text("keep"),
        addresses=values.text("addresses"),
        pull=values.text("pull"),
        build=values.text("build"),
        locked=values.truth("locked"),
        networks=values.private_range("networks"),
        wait_timeout=values.seconds("wait_timeout"),
        ttl=values.seconds("ttl") or 0.0,
        steady=values.seconds("steady") or 0.0,
        strict_variables=values.truth("strict_variables"),
        residue=read_residue(sources.table.get("residue", {}), values.text("residue"), sources.root, sources.pyproject),
        restart_changed=values.truth("restart_changed"),
        profiles=values.profiles(environ),
        local_build=values.folder("local_build"),
        wait_to_attach_debugger=values.truth("wait_to_attach_debugger"),
        system=values.system(systems),
        logs=values.logs(),
        stack=values.text("stack"),
        local=_local(local),
        attach=_attach(sources),
        env=_env(sources),
        overlays=_overlays(sources, unwritten=unwritten),
        keep_runs=values.count("keep_runs"),
        inside_timeout=values.seconds("inside_timeout"),
        notices=read_notices(sources.table.get("notices", {}), sources.pyproject),
        notices_state=values.notices_state(),
        test_timeout=values.seconds("test_timeout"),
        reruns=values.count("reruns", least=0),
        quarantine=sources.root / values.text("quarantine"),
        flakes=values.flakes(),
        pins=read_pins(sources.table.get("pins", {}), sources.pyproject),
        matrices=_matrices(sources),
        matrix=values.text("matrix"),
        subjects=read_subjects(sources.table.get("subjects", {}), sources.root, sources.pyproject),
        origins=values.origins,
    )
