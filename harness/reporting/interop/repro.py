"""What runs one cell again without harness: a shell script, and for containers the Compose file beside it."""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifacts import write_atomically
from harness.reporting.interop.words import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.matrix.cells import Cell
    from harness.matrix.site import Part
    from harness.matrix.verdicts import Result
    from harness.reporting.interop.report import CellReport

SCRIPT, COMPOSE = "repro.sh", "compose.yaml"
LONGEST = 400  # characters of a line that tells what happened
_SECRET = re.compile(
    r"token|secret|passw|credential|auth|(api|access|private|signing|encryption)[-_]?key", re.IGNORECASE
)
_WITH_USER = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s@]+:[^/\s@]+@", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IMAGE = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Again:
    """A cell that was run, as it is to be run again.

    Attributes:
        matrix: its name.
        run: id of the run.
        cell: the cell.
        parts: its roles, in the order in which they are started.
        result: what came out.
        deciding: the event that decided it, None where none did.
        mounts: whether roles found /shared and /logs at these paths.
    """

    matrix: str
    run: str
    cell: Cell
    parts: Sequence[Part]
    result: Result
    deciding: Mapping[str, Any] | None = None
    mounts: bool = False

    @property
    def is_contained(self) -> bool:
        """Whether its roles are containers."""
        return all(part.image for part in self.parts)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of variables whose values are in no file; whoever runs it again has them set."""
        return tuple(
            sorted({name for part in self.parts for name, value in part.env.items() if is_secret(name, value)})
        )


def with_harness(cell: str) -> str:
    """Return the command that runs a cell again where harness is."""
    return f"harness interop.run --cell {shlex.quote(cell)}"


def ways_to_run(cell: CellReport) -> tuple[str, ...]:
    """Return the commands that run a cell again: with harness, and without it where there is a script."""
    script = (f"sh {shlex.quote(f'{cell.folder}/{SCRIPT}')}",) if SCRIPT in cell.evidence else ()
    return (with_harness(cell.id), *script) if cell.folder else ()


def write_repro(folder: Path, again: Again) -> None:
    """Write what runs a cell again into the folder of its evidence. Raises OSError."""
    if again.is_contained:
        write_atomically(folder / COMPOSE, compose_of(again))
    path = folder / SCRIPT
    write_atomically(path, script_of(again))
    path.chmod(0o755)


def is_secret(name: str, value: str) -> bool:
    """Return whether the value of a variable of an implementation is to be in no file of a report."""
    if name.startswith("INTEROP_") or not _NAME.fullmatch(name):
        return False
    return bool(_SECRET.search(name) or _WITH_USER.search(value))


def script_of(again: Again) -> str:
    """Return the script: it ends as the driver does, with 124 when the cell's time is over."""
    kind = "compose" if again.is_contained else "embedded"
    lines = [*_head(again), "", *_values(again)]
    if not again.is_contained:
        lines += ["", *_launches(again)]
    return "\n".join(lines) + "\n" + _asset(f"{kind}.sh") + _asset("cell.sh")


def compose_of(again: Again) -> str:
    """Return the Compose file: a service for each role, with the ids of the images that were run."""
    import yaml  # noqa: PLC0415 - of failed cells on containers only

    hosts = " ".join(f"{part.role}={part.role}" for part in again.parts)
    services = {part.role: _service(part, hosts) for part in again.parts}
    told = (
        f"# {one_line(again.cell.id)} of matrix {one_line(again.matrix)}; {SCRIPT} starts its roles in their order.\n"
    )
    whole = {"services": services, "volumes": {"shared": {}}, "networks": {"cell": {}}}
    return told + yaml.safe_dump(whole, sort_keys=False, width=120)


def _service(part: Part, hosts: str) -> dict[str, Any]:
    env = {**part.env, "INTEROP_PEERS": hosts, "INTEROP_SHARED": "/shared", "INTEROP_LOGS": "/logs"}
    service: dict[str, Any] = {
        "image": part.image,
        "pull_policy": "never",
        "hostname": part.role,
        "entrypoint": [_literal(word) for word in part.argv],
        "command": [],
        "environment": {
            name: f"${{{name}:?}}" if is_secret(name, value) else _literal(value) for name, value in env.items()
        },
        "stdin_open": True,
        "volumes": ["shared:/shared"],
        "networks": {"cell": {"aliases": [part.role]}},
        "security_opt": ["no-new-privileges"],
        "ulimits": {"core": 0},
        "logging": {"driver": "json-file", "options": {"max-size": "10m"}},
    }
    if part.memory:
        service |= {"mem_limit": part.memory, "memswap_limit": part.memory}
    if part.cpu:
        service["cpus"] = part.cpu
    return service


def _literal(text: str) -> str:
    """Return a text that Compose puts no variables into."""
    return text.replace("$", "$$")


def _head(again: Again) -> Iterator[str]:
    verdict, cell = again.result.verdict, again.cell
    what = f", with Docker and {COMPOSE} beside it" if again.is_contained else ""
    yield "#!/bin/sh"
    yield f"# Runs one cell of a matrix again, without harness{what}: sh {SCRIPT} [FOLDER]"
    yield "# It ends as the driver does, with 124 when the time is over; nothing is left but FOLDER, where given."
    yield "# It judges nothing: assertions that do not agree and malformed lines end a cell in a run only."
    yield "#"
    yield f"# cell:     {one_line(cell.id)}"
    yield f"# matrix:   {one_line(again.matrix)}, run {one_line(again.run)}, seed {cell.seed}"
    whose = " ".join(part for part in (verdict.blame, verdict.role, verdict.implementation) if part)
    yield f"# verdict:  {verdict.status}{f' (blame: {one_line(whose)})' if whose else ''}: {_cut(verdict.reason)}"
    if again.deciding:
        yield f"# deciding: {_cut(json.dumps(again.deciding))}"
    yield f"# where harness is: {one_line(with_harness(cell.id))}"


def _cut(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def _values(again: Again) -> Iterator[str]:
    exits = ", ".join(f"{role} {code}" for role, code in again.result.exits.items()) or "no exit codes"
    for name in again.secrets:
        why = f"{name} is a variable of the cell whose value is written nowhere: set it"
        yield f'[ -n "${{{name}+set}}" ] || {{ echo "{why}" >&2; exit 10; }}'
        yield f"export {name}"
    yield f"roles={shlex.quote(' '.join(part.role for part in again.parts))}"
    yield f"limit={max(1, round(again.cell.timeout))}"
    yield f"before={shlex.quote(_cut(f'{again.result.verdict.status}; {exits}'))}"
    yield f"tools={shlex.quote(str(Path(sys.executable).parent))}"
    if again.is_contained:
        images = dict.fromkeys(part.image for part in again.parts)
        yield f"images={shlex.quote(' '.join(image for image in images if _IMAGE.fullmatch(image)))}"
    else:
        yield f"python={shlex.quote(sys.executable)}"
        yield f"mounts={'yes' if again.mounts else ''}"


def _launches(again: Again) -> Iterator[str]:
    yield "launch() {"
    yield "    case $1 in"
    for part in again.parts:
        yield f"    {part.role}) ("
        words = [f"as_role {part.role} {shlex.quote(str(part.cwd or ''))} env"]
        words += [_variable(name, value) for name, value in part.env.items()]
        words.append(shlex.join(part.argv))
        yield " \\\n            ".join(["        " + words[0], *words[1:]])
        yield "    ) ;;"
    yield "    esac"
    yield "}"


def _variable(name: str, value: str) -> str:
    return f'"{name}=${name}"' if is_secret(name, value) else shlex.quote(f"{name}={value}")


def _asset(name: str) -> str:
    return resources.files("harness.reporting.interop").joinpath("scripts", name).read_text(encoding="utf-8")
