"""Files of this machine for a container of an engine that does not see them: copied into it before it starts.

An engine elsewhere would mount an empty folder where a file was meant, and say nothing. So what is small and only read
is copied, as it is with ``docker cp``; all else is refused, with what to do.
"""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from harness.engine.plan import HostFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.stack import Mount, Service, Stack

MOST_BYTES, MOST_FILES = 16 << 20, 2000
_SECRETS = "/run/secrets"
_AWAY = ", which the engine, on another machine, does not see"
_FOLDER_HINT = (
    "mount it read-only where it is small, write it into the image (COPY in its Dockerfile), or make it a named volume"
)


@dataclass(frozen=True)
class Copies:
    """What becomes of the files that a service has of this machine.

    Attributes:
        files: what is copied.
        mounts: the volumes of its file that stay, as they are written there.
        grants: ``configs`` and ``secrets`` that stay, as they are written there.
        problems: what cannot be, in words.
        notes: what is to be said.
    """

    files: tuple[HostFile, ...]
    mounts: tuple[Mapping[str, Any], ...]
    grants: Mapping[str, tuple[Mapping[str, Any], ...]]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def copies_of(stack: Stack, service: Service) -> Copies:
    """Return what becomes of the files of a service on an engine that is on another machine."""
    who = f"{stack.files[0]}: service {service.name!r}"
    files, problems, notes = [], [], []
    for mount in service.mounts:
        if mount.kind != "bind":
            options = (stack.volumes.get(mount.source) or {}).get("driver_opts") or {}
            if "bind" in str(options.get("o", "")):
                problems.append(f"{who}: volume {mount.source!r} is {options.get('device')} of this machine{_AWAY}")
            continue
        if problem := _hindrance(mount):
            problems.append(f"{who}: {mount.source}, mounted at {mount.target}, {problem}")
            continue
        files.append(HostFile(Path(mount.source), mount.target))
        if not mount.read_only:
            notes.append(f"service {service.name!r}: {mount.target} is a copy; what is written to it there stays there")
    if service.settings.log_file:
        notes.append(f"service {service.name!r}: its log {service.settings.log_file} stays in its container, elsewhere")
    grants: dict[str, tuple[Mapping[str, Any], ...]] = {}
    for key, tables in (("configs", stack.configs), ("secrets", stack.secrets)):
        written = list(service.compose.get(key) or ())
        of_files = [grant for grant in written if (tables.get(str(grant["source"])) or {}).get("file")]
        if of_files:
            grants[key] = tuple(grant for grant in written if grant not in of_files)
            for grant in of_files:
                source = Path(str(tables[str(grant["source"])]["file"]))
                if problem := _size_problem(source):
                    problems.append(f"{who}: {key[:-1]} {grant['source']!r}: {source} {problem}")
                files.append(_granted(key, grant, source))
    binds = {mount.target for mount in service.mounts if mount.kind == "bind"}
    mounts = tuple(volume for volume in service.compose.get("volumes") or () if volume.get("target") not in binds)
    return Copies(tuple(files), mounts, grants, tuple(problems), tuple(notes))


def _hindrance(mount: Mount) -> str:
    """Return why what is mounted cannot be copied instead, "" when it can."""
    source = Path(mount.source)
    try:
        source.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if source.is_file():
        return _size_problem(source)
    if not source.is_dir():
        return f"is no file or folder{_AWAY}"
    if not mount.read_only:
        return f"is a folder that may be written{_AWAY}; {_FOLDER_HINT}"
    problem = _size_problem(source)
    return f"{problem}; {_FOLDER_HINT}" if problem else ""


def _size_problem(source: Path) -> str:
    """Return why a file or folder is too large to be copied, "" when it is not."""
    count = size = 0
    try:
        for path in [source] if source.is_file() else source.rglob("*"):
            count, size = count + 1, size + path.lstat().st_size
            if size > MOST_BYTES or count > MOST_FILES:
                most = f"{MOST_BYTES >> 20} MiB and {MOST_FILES} files"
                return f"is larger than {most}, which is the most that is copied to an engine on another machine"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def _granted(key: str, grant: Mapping[str, Any], source: Path) -> HostFile:
    """Return the copy of a config or secret, where and with whom the Compose specification has it."""
    folder = "/" if key == "configs" else _SECRETS
    target = PurePosixPath(folder, str(grant.get("target") or grant["source"]))
    mode = grant.get("mode")
    return HostFile(
        source,
        str(target),
        mode=(int(mode, 8) if isinstance(mode, str) else int(mode)) if mode is not None else 0o444,
        uid=int(grant["uid"]) if str(grant.get("uid", "")).isdigit() else 0,
        gid=int(grant["gid"]) if str(grant.get("gid", "")).isdigit() else 0,
    )


def archive_of(files: tuple[HostFile, ...]) -> bytes:
    """Return an archive of files and folders at their places in a container.

    Raises:
        OSError: one of them cannot be read.
    """
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for file in files:
            for path, name in _members(file):
                facts = archive.gettarinfo(path, name)
                facts.uname = facts.gname = ""  # the numbers count, as with a mount
                if facts.islnk():  # another name of a file that is in the archive: a file of its own there
                    facts.type, facts.linkname, facts.size = tarfile.REGTYPE, "", path.stat().st_size
                if file.mode is not None:
                    facts.mode, facts.uid, facts.gid = file.mode, file.uid, file.gid
                if facts.isreg():
                    with path.open("rb") as opened:
                        archive.addfile(facts, opened)
                elif facts.isdir() or facts.issym():
                    archive.addfile(facts)
    return content.getvalue()


def _members(file: HostFile) -> Iterator[tuple[Path, str]]:
    """Yield what is below a file or folder, with its name in the archive; the top itself is no link."""
    top = Path(os.path.realpath(file.source))
    name = file.target.strip("/")
    yield top, name
    if top.is_dir():
        for path in sorted(top.rglob("*")):
            yield path, f"{name}/{path.relative_to(top)}"
