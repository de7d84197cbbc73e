"""What a Dockerfile says, read without an engine: the images it is built from, what it runs, what needs BuildKit."""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_DIRECTIVE = re.compile(r"\s*#\s*([A-Za-z]+)\s*=\s*(\S+)\s*$")
_COMMENT = re.compile(r"\s*(?:#.*)?$", re.DOTALL)
_INSTRUCTION = re.compile(r"\s*(?:ONBUILD\s+)?([A-Za-z]+)\s+", re.IGNORECASE)
_HEREDOC = re.compile(r"(?:^|\s)\d*<<-?(?P<quote>[\"']?)(?P<word>[^\s<\"']+)(?P=quote)(?=\s|$)")
_FLAGS = re.compile(r"(?:--\S+\s+)*")
_FROM = re.compile(r"(?:--\S+\s+)*(?P<image>\S+)(?:\s+AS\s+(?P<stage>\S+))?", re.IGNORECASE)
_COPIED_FROM = re.compile(r"(?:^|\s)--from=(?P<image>\S+)")
_MOUNTED_FROM = re.compile(r"(?:^|\s)--mount=\S*?\bfrom=(?P<image>[^\s,]+)")
_ARGUMENT = re.compile(r"(?P<name>\w+)(?:=(?P<value>\"[^\"]*\"|'[^']*'|\S*))?")
_VARIABLE = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<name>\w+)(?:(?P<sign>:?[-+])(?P<word>[^}]*))?\})")
_FAR = re.compile(r"://|:/?$|^[\w.-]+@[\w.-]+:")
_CHECKED = re.compile(r"(?:^|\s)--checksum=")
_OF_PLATFORMS = re.compile(r"(?:BUILD|TARGET)(?:PLATFORM|OS|ARCH|VARIANT)")
_OF_BUILDKIT = {
    "FROM": re.compile(r"(?:^|\s)--platform=\S*\$\{?(?:BUILD|TARGET)(?:PLATFORM|OS|ARCH|VARIANT)\b"),
    "RUN": re.compile(r"(?:^|\s)--(?:mount|network|security|device)\b"),
    "COPY": re.compile(r"(?:^|\s)--(?:chmod|link|parents|exclude)\b"),
    "ADD": re.compile(r"(?:^|\s)(?:--(?:chmod|link|checksum|keep-git-dir|exclude|unpack)\b|git@|https?://\S+\.git\b)"),
}


class Need(NamedTuple):
    """The first thing in a Dockerfile that only BuildKit can do: its line, and the words there."""

    line: int
    words: str

    @property
    def is_heredoc(self) -> bool:
        """Whether these are a here-document."""
        return "<<" in self.words

    def __str__(self) -> str:
        return f"line {self.line} ({self.words})"


@dataclass(frozen=True)
class Reference:
    """An image that a Dockerfile names.

    Attributes:
        name: with arguments put in.
        start: where in the text it is written, up to ``end``.
        end: as said.
        is_stage: whether an earlier stage has that name, which it then is.
    """

    name: str
    start: int
    end: int
    is_stage: bool = False


class _Instruction(NamedTuple):
    """An instruction: its line, its word, and its rest from a place in the text on, each continued line at its own."""

    line: int
    word: str
    rest: str
    start: int
    heredoc: str


def familiar(image: str) -> str:
    """Return the name of an image as people write it, with the tag that is meant where none is."""
    for prefix in ("docker.io/library/", "index.docker.io/library/", "docker.io/", "index.docker.io/"):
        image = image.removeprefix(prefix)
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"


def references(text: str, arguments: Mapping[str, str], target: str = "") -> list[Reference]:
    """Return what ``text`` names as images, up to the stage ``target`` when there is one.

    Args:
        text: of a Dockerfile.
        arguments: build arguments; those of ``text`` have their defaults.
        target: the stage that is built, "" for the last one.
    """
    stages: list[str] = []
    values: dict[str, str] = {}
    found: list[Reference] = []
    for step in _instructions(text):
        if step.word == "ARG" and not stages:
            for match in _ARGUMENT.finditer(step.rest):
                default = match["value"]
                if match["name"] in arguments:
                    values[match["name"]] = arguments[match["name"]]
                elif default is not None:
                    values[match["name"]] = _expanded(default.strip("\"'"), values)
        elif step.word == "FROM" and (base := _FROM.match(step.rest)):
            if target and target.lower() in (*stages[-1:], str(len(stages) - 1)):
                break
            name = _expanded(base["image"].strip("\"'"), values)
            found.append(_reference(step, base, name, stages))
            stages.append((base["stage"] or "").lower())
        elif step.word in ("COPY", "RUN"):
            pattern = _COPIED_FROM if step.word == "COPY" else _MOUNTED_FROM
            flags = _FLAGS.match(step.rest)
            matches = pattern.finditer(flags[0] if flags else "")
            found += [_reference(step, match, match["image"], stages) for match in matches]
    return [one for one in found if one.name]


def stages_of(text: str) -> list[str]:
    """Return the names of the stages of a Dockerfile, "" of one without."""
    bases = (_FROM.match(step.rest) for step in _instructions(text) if step.word == "FROM")
    return [(base["stage"] or "").lower() for base in bases if base]


def declared_arguments(text: str) -> set[str]:
    """Return the arguments that a Dockerfile declares."""
    return {
        match["name"] for step in _instructions(text) if step.word == "ARG" for match in _ARGUMENT.finditer(step.rest)
    }


# fmt: off
_WORDS = frozenset([
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD",
    "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
])
# fmt: on
_OWN_SYNTAX = re.compile(
    r"\s*#\s*syntax\s*=\s*(?:docker\.io/)?(?!(?:docker/dockerfile)(?:[:@\s]|-upstream|$))\S", re.IGNORECASE
)


def miswritten(text: str) -> tuple[int, str] | None:
    """Return the line and what is wrong with a Dockerfile that no builder understands, None where that is not certain.

    What a frontend of its own reads (``# syntax=``) may be anything.
    """
    lines = text.split("\n")
    if next((True for line in lines if _DIRECTIVE.match(line) and _OWN_SYNTAX.match(line)), False):
        return None
    steps = list(_instructions(f"{text}\n"))
    for step in steps:
        if step.word not in _WORDS:
            return step.line, f"unknown instruction {step.word!r}{nearest(step.word, _WORDS)}"
    first = next((step for step in steps if step.word != "ARG"), None)
    if first is None:
        return 1, "it has no FROM" if steps else "it has no instruction"
    if first.word != "FROM":
        return first.line, f"{first.word} comes before the first FROM"
    return None


def lines_of_step(text: str, step: str) -> list[int]:
    """Return the lines of a Dockerfile that say a step as builders tell it, with every run of blanks one."""
    return [one.line for one in _instructions(text) if step in _told(one)]


def steps_of_line(text: str, line: int) -> list[str]:
    """Return the steps of a Dockerfile, as builders tell them, that begin at a line."""
    return [told for one in _instructions(text) if one.line == line for told in _told(one)]


def _told(step: _Instruction) -> tuple[str, str]:
    """Return an instruction as builders tell it, and as they tell its command: without flags."""
    words = step.rest.split()
    return " ".join([step.word, *words]), " ".join([step.word, *_FLAGS.sub("", " ".join(words), count=1).split()])


def adds_from_afar(text: str, arguments: Mapping[str, str]) -> int | None:
    """Return the line of the first ``ADD`` that may get what is not on this machine and is not told by a checksum.

    A variable in what is added may be whatever it is set to anywhere; one that is set nowhere may be anything.

    Args:
        text: of a Dockerfile.
        arguments: build arguments.
    """
    steps = list(_instructions(text))
    values: dict[str, list[str]] = {name: [value] for name, value in arguments.items()}
    for step in steps:
        if step.word in ("ARG", "ENV"):
            for name, value in _written_pairs(step):
                values.setdefault(name, []).append(value)
    for step in steps:
        if step.word == "ADD" and not _CHECKED.search((_FLAGS.match(step.rest) or [""])[0]):
            *sources, _ = _added(step.rest) or [""]
            if any(_may_be_far(source, values) for source in sources):
                return step.line
    return None


def _written_pairs(step: _Instruction) -> list[tuple[str, str]]:
    """Return the variables that an ``ARG`` or ``ENV`` gives a value, as that is written."""
    rest = step.rest.strip()
    name, space, value = rest.partition(" ")
    if step.word == "ENV" and "=" not in name and space:
        return [(name, value)]
    return [(match["name"], match["value"]) for match in _ARGUMENT.finditer(rest) if match["value"] is not None]


def _added(rest: str) -> list[str]:
    words = _words(_FLAGS.sub("", rest.strip(), count=1))
    return list(words) if isinstance(words, tuple) else [word.strip("\"'") for word in words.split()]


def _may_be_far(source: str, values: Mapping[str, list[str]]) -> bool:
    if _FAR.search(source):
        return True
    for match in _VARIABLE.finditer(source):
        name, others = match["plain"] or match["name"], match["word"] or ""
        known = [*values.get(name, ()), others]
        if any("$" in one or _FAR.search(one.strip("\"'")) for one in known):
            return True
        if name not in values and not _OF_PLATFORMS.fullmatch(name):
            return True
    return "$" in _VARIABLE.sub("", source)


def _reference(step: _Instruction, match: re.Match[str], name: str, stages: list[str]) -> Reference:
    is_stage = name.lower() in stages or (step.word != "FROM" and name.isdecimal())
    return Reference(name, step.start + match.start("image"), step.start + match.end("image"), is_stage)


def substituted(text: str, names: Mapping[Reference, str]) -> str:
    """Return ``text`` with other images in the places of some references; every line stays where it is."""
    for reference in sorted(names, key=lambda one: one.start, reverse=True):
        text = text[: reference.start] + names[reference] + text[reference.end :]
    return text


def needs_buildkit(text: str) -> Need | None:
    """Return what in a Dockerfile the classic builder does not understand, None for nothing."""
    for step in _instructions(text):
        if step.heredoc:
            return Need(step.line, f"{step.word} <<{step.heredoc}")
        flags = step.rest if step.word == "ADD" else (_FLAGS.match(step.rest) or [""])[0]
        pattern = _OF_BUILDKIT.get(step.word)
        if pattern and (match := pattern.search(flags)):
            return Need(step.line, f"{step.word} {match[0].strip()}")
    return None


def _expanded(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        held = values.get(match["plain"] or match["name"])
        sign, word = match["sign"] or "", match["word"] or ""
        is_there = held is not None if sign in ("-", "+") else bool(held)
        if sign.endswith("+"):
            return word if is_there else ""
        return (held or "") if is_there else word

    return _VARIABLE.sub(value, text)


def _instructions(text: str) -> Iterator[_Instruction]:
    lines = _LINE.findall(text)
    continued = re.compile(rf"(.*){re.escape(_escape(lines))}[ \t]*\r?\n?$", re.DOTALL)
    at, offset = 0, 0
    while at < len(lines):
        number, start, flat = at + 1, offset, ""
        while at < len(lines):
            line = lines[at]
            at, offset = at + 1, offset + len(line)
            if _COMMENT.match(line):
                flat += " " * len(line)
                if not flat.strip():
                    break
            elif match := continued.match(line):
                flat += match[1] + " " * (len(line) - len(match[1]))
            else:
                flat += line
                break
        match = _INSTRUCTION.match(flat)
        if not match:
            continue
        word, rest, heredoc = match[1].upper(), flat[match.end() :], ""
        for name in _heredocs(word, rest):
            end = next((i for i in range(at, len(lines)) if lines[i].strip("\t\r\n") == name), None)
            if end is not None:
                heredoc = heredoc or name
                offset += sum(map(len, lines[at : end + 1]))
                at = end + 1
        yield _Instruction(number, word, rest, start + match.end(), heredoc)


def _escape(lines: list[str]) -> str:
    """Return the character that continues lines: directives come before all else."""
    for line in lines:
        match = _DIRECTIVE.match(line)
        if not match:
            break
        if match[1].lower() == "escape":
            return match[2][0]
    return "\\"


def _heredocs(word: str, rest: str) -> list[str]:
    return [match["word"] for match in _HEREDOC.finditer(rest)] if word in ("RUN", "COPY", "ADD") else []


# -- what its image runs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """What the image of a Dockerfile runs, as far as the file says it.

    Attributes:
        base: the image that it stands on.
        folder: ``WORKDIR``.
        entrypoint: words, or a line for a shell; None where the file has none.
        command: as said, of ``CMD``.
        environment: ``ENV``.
        copies: (sources, target) of each ``COPY`` from the build's context, in order.
    """

    base: str = ""
    folder: str = "/"
    entrypoint: tuple[str, ...] | str | None = None
    command: tuple[str, ...] | str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    copies: tuple[tuple[tuple[str, ...], str], ...] = ()


def program_of(text: str, arguments: Mapping[str, str], target: str = "") -> Program:
    """Return what the last stage of a Dockerfile runs, or the stage ``target``."""
    values = dict(arguments)
    stages: dict[str, Program] = {}
    program, number = Program(), -1
    for step in _instructions(text):
        if step.word == "FROM" and (base := _FROM.match(step.rest)):
            if target and target.lower() in stages:
                break
            name, number = _expanded(base["image"].strip("\"'"), values), number + 1
            program = stages.get(name.lower(), Program(base=name))
            stages |= {(base["stage"] or str(number)).lower(): program}
        else:
            program = _after(program, step, values)
            stages |= dict.fromkeys([*stages][-1:], program)
    return stages.get(target.lower(), program) if target else program


def _after(program: Program, step: _Instruction, values: dict[str, str]) -> Program:
    """Return what an image runs when one more instruction was followed; ``ARG`` and ``ENV`` are put into ``values``."""
    rest = step.rest.strip()
    if step.word in ("ARG", "ENV"):
        pairs = _pairs(rest, values)
        if step.word == "ARG":
            pairs = {name: value for name, value in pairs.items() if name not in values}
        values |= pairs
        return replace(program, environment={**program.environment, **pairs}) if step.word == "ENV" else program
    if step.word == "WORKDIR":
        return replace(program, folder=posixpath.join(program.folder, _expanded(rest.strip("\"'"), values)))
    if step.word == "ENTRYPOINT":
        return replace(program, entrypoint=_words(rest), command=None)
    if step.word == "CMD":
        return replace(program, command=_words(rest))
    if step.word in ("COPY", "ADD") and "--from=" not in rest:
        words = _words(_FLAGS.sub("", rest, count=1))
        *sources, place = (words if isinstance(words, tuple) else words.split()) or [""]
        copied = (tuple(sources), posixpath.normpath(posixpath.join(program.folder, _expanded(place, values))))
        return replace(program, copies=(*program.copies, copied))
    return program


def _pairs(rest: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an ``ENV`` or ``ARG``, also of its old form with a space."""
    name, space, value = rest.partition(" ")
    if "=" not in name and space:
        return {name: _expanded(value.strip(), values)}
    found = {match["name"]: match["value"] for match in _ARGUMENT.finditer(rest) if match["value"] is not None}
    return {name: _expanded(value.strip("\"'"), values) for name, value in found.items()}


def _words(rest: str) -> tuple[str, ...] | str:
    """Return the words of an instruction in JSON, else its line."""
    try:
        words = json.loads(rest)
    except ValueError:
        return rest
    return tuple(map(str, words)) if isinstance(words, list) else rest
