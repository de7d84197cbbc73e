"""What engines, shells and kernels say of what they could not start, in plain words."""

from __future__ import annotations

import re

_MISSING = re.compile(
    r'exec: "?(?P<engine>[^":]+)"?: (?:executable file not found|stat [^:]+: no such file|no such file)'
    r"|executable file `(?P<podman>[^`]+)` not found in"
    r"|sh: (?:line )?(?:\d+: )?(?P<shell>[^\s:]+): (?:command )?not found|^(?P<here>\S+): No such file or directory$"
)
_GIVES_UP = re.compile(r"\|\|\s*(?:exit(?:\s+\d+)?|false)\b")
_OTHER_WAYS = ("||", ";", "\n", "if ")
_ENGINE_SAYS = re.compile(
    r"^(?:Error response from daemon: |the engine refused: "
    r"|driver failed programming external connectivity on endpoint \S+ \(\w+\): "
    r"|(?:failed to create task for container|failed to create shim task|OCI runtime create failed|runc create failed"
    r"|unable to start container process|container_linux\.go:\d+|process_linux\.go:\d+"
    r"|starting container process caused|runc|crun|error during container init|Error starting userland proxy|init"
    r"|Cannot start service \S+)"
    r": )+"
)
# What they say -> what it means.
_MEANINGS = (
    (
        r"Pool overlaps with other one|subnet \S+ is already used",
        "a subnet in its file overlaps with that of another network on this engine, maybe another environment's",
    ),
    (
        r'exec: "?(?P<program>[^":]+)"?: (?P<why>permission denied|is a directory)',
        "{program!r} in its image cannot be executed ({why})",
    ),
    (
        r"(?i:exec format error)",
        "exec format error: its program is for another kind of machine, or has no #! line",
    ),
    (r"(?P<at>\d[\d.]*:\d+)(?:: bind)?: address already in use", "its port {at} is taken by somebody else"),
    (r"(?P<at>\S+:\d+) failed: port is already", "its port {at} is taken by somebody else"),
    (r"bind source path does not exist: (?P<path>\S+)", "{path}, which it mounts, does not exist"),
    (
        r'(?:chdir to cwd \(|workdir |working directory )"(?P<path>[^"]+)"',
        "there is no folder {path!r}, its working_dir, in its image",
    ),
    (
        r'mounting "?(?P<path>[^":\s]+)"? to rootfs at "?(?P<on>[^":\s]+)"?.*not a directory',
        "{path} is mounted on {on}: one is a file, the other a folder",
    ),
)


def missing_program(text: str) -> str:
    """Return the program that a shell, the kernel or an engine says is not there; "" when none is."""
    match = _MISSING.search(text)
    return next((name for name in match.groups() if name), "") if match else ""


def missing_for_good(command: str, words: str) -> str:
    """Return the program without which a command can never succeed, "" when its words tell of none.

    One that is named by its path may yet come: the service may write it. And a shell goes on behind ``||``: what is
    missing may only be the first of two ways. ``words`` are those of the engine, the kernel or the shell.
    """
    match = _MISSING.search(words)
    program = missing_program(words)
    if match is None or "/" in program:
        return ""
    other_ways = _GIVES_UP.sub("", command) if match["shell"] else ""
    return "" if any(word in other_ways for word in _OTHER_WAYS) else program


def why_not_started(words: str) -> str:
    """Return why an engine did not start a container, out of its own words, which begin with who passed them on."""
    if missing := missing_program(words):
        return f"there is no program {missing!r} in its image"
    for pattern, meaning in _MEANINGS:
        if match := re.search(pattern, words):
            return meaning.format(**match.groupdict())
    return _ENGINE_SAYS.sub("", words).removesuffix(": unknown")
