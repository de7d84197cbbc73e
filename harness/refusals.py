"""What engines, shells and kernels say of what they could not start, in plain words."""

from __future__ import annotations

import re

_MISSING = re.compile(
    r'exec: "?(?P<engine>[^":]+)"?: (?:executable file not found|stat [^:]+: no such file|no such file)'
    r"|(?P<shell>[^\s:]+): (?:command )?not found|^(?P<here>\S+): No such file or directory$"
)
_ENGINE_SAYS = re.compile(
    r"^(?:Error response from daemon: |driver failed programming external connectivity on endpoint \S+ \(\w+\): "
    r"|(?:failed to create task for container|failed to create shim task|OCI runtime create failed|runc create failed"
    r"|unable to start container process|container_linux\.go:\d+|process_linux\.go:\d+"
    r"|starting container process caused|error during container init|Error starting userland proxy|init"
    r"|Cannot start service \S+)"
    r": )+"
)
_CANNOT_RUN = re.compile(r'exec: "?(?P<program>[^":]+)"?: (?P<why>permission denied|is a directory)')
_TAKEN = re.compile(
    r"(?P<at>\d[\d.]*:\d+)(?:: bind)?: address already in use|(?P<port>\S+:\d+) failed: port is already"
)
_NO_SOURCE = re.compile(r"bind source path does not exist: (?P<path>\S+)")
_NO_FOLDER = re.compile(r'chdir to cwd \("(?P<path>[^"]+)"\)')
_NOT_A_FOLDER = re.compile(r'mounting "?(?P<path>[^":\s]+)"? to rootfs at "?(?P<on>[^":\s]+)"?.*not a directory')


def missing_program(text: str) -> str:
    """Return the program that a shell, the kernel or an engine says is not there; "" when none is."""
    match = _MISSING.search(text)
    return next((name for name in match.groups() if name), "") if match else ""


def why_not_started(words: str) -> str:
    """Return why an engine did not start a container, out of its own words, which begin with who passed them on."""
    if missing := missing_program(words):
        return f"there is no program {missing!r} in its image"
    if match := _CANNOT_RUN.search(words):
        return f"{match['program']!r} in its image cannot be executed ({match['why']})"
    if "exec format error" in words.lower():
        return "exec format error: its program is for another kind of machine, or has no #! line"
    if match := _TAKEN.search(words):
        return f"its port {match['at'] or match['port']} is taken by somebody else"
    if match := _NO_SOURCE.search(words):
        return f"{match['path']}, which it mounts, does not exist"
    if match := _NO_FOLDER.search(words):
        return f"there is no folder {match['path']!r}, its working_dir, in its image"
    if match := _NOT_A_FOLDER.search(words):
        return f"{match['path']} is mounted on {match['on']}: one is a file, the other a folder"
    return _ENGINE_SAYS.sub("", words).removesuffix(": unknown")
