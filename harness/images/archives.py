"""Images in files: what an engine gives for ``docker save``, compressed by zstd on its way, and back again.

Nothing is kept in between: the engine's stream goes through the compressor to a file that gets its name when it is
whole, and from the file through the decompressor to the engine. At the end of the file is what the archive holds, in a
frame that decompressors skip ("Skippable Frames" in RFC 8878): it is read without reading the rest, and a file that was
cut off has none. Archives without it (``docker save``, plain or through zstd or gzip) are read once to learn the same.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import secrets
import stat
import struct
import tarfile
import zlib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from harness.artifacts import unwritable
from harness.daemon import ask, cause_of, in_words
from harness.errors import BrokenStack, ConfigError, EngineUnreachableError, HarnessError
from harness.images.making import image_id
from harness.images.names import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.daemon import Api
    from harness.docker_sdk import APIClient

FORMAT = 1
FIRST_BYTE = 600.0  # seconds: an engine writes all layers to its own disk before it sends the first
SILENCE = 60.0
LOAD_BUDGET = 600.0  # seconds of silence while an engine unpacks
LEVEL = 3
PIECE = 1 << 20
MOST = 4 << 20  # bytes of a description of an image
_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_SKIPPABLE = 0x184D2A5D  # one of the 16 numbers of such frames
_IS_SKIPPABLE = b"\x2a\x4d\x18"  # how all of them go on, after a first byte of 0x50 to 0x5f
_MARK = b"harness!"
_END = struct.Struct("<I8s")  # behind the description: its length, and the mark
_BEGIN = re.compile(rb'\x5d\x2a\x4d\x18(?:.{0,4}\Z|.{4}(?:\{"format": |.{0,11}\Z))', re.DOTALL)  # of a description
_TAR_MARK, _TAR_MARK_AT = b"ustar", 257
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = re.compile(
    rf"(?:[A-Za-z0-9.-]+(?::\d+)?/|\[[0-9a-fA-F:]+\](?::\d+)?/)?{_PART}(?:/{_PART})*:\w[\w.-]{{0,127}}", re.ASCII
)
# How engines say that it is the archive: the digest of a layer, its tar, its names or its documents.
_OF_THE_ARCHIVE = re.compile(
    r"diffid|digest|checksum|unexpected eof|archive/tar|invalid (tar|manifest|reference|character)|no such file"
    r"|cannot unmarshal|flate|gzip|zstd",
    re.IGNORECASE,
)
_AGAIN = "save it again"


@dataclass(frozen=True)
class Held:
    """An image in an archive.

    Attributes:
        names: its names and tags.
        ids: what engines call it: the digest of its configuration, which is its id with the classic image store, and
            those of its manifests, one of which is its id with containerd's.
        platform: as in ``linux/amd64``.
        layers: digests of its layers.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...]
    platform: str
    layers: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values, for people's programs."""
        return {"names": list(self.names), "ids": list(self.ids), "platform": self.platform}

    def __str__(self) -> str:
        return self.names[0] if self.names else self.ids[0]


@dataclass(frozen=True)
class Contents:
    """What an archive holds.

    Attributes:
        images: its images.
        size: bytes of what is compressed.
        made: when, as in ISO 8601; "" where that is not written down.
        by: what made it, for people; "" as before.
    """

    images: tuple[Held, ...]
    size: int
    made: str = ""
    by: str = ""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _DamagedError(Exception):
    """What was read is no whole archive; the text says why."""

    def of(self, path: Path, more: str = "") -> ConfigError:
        """Return the error for people: of an archive, and what came of it."""
        return ConfigError(f"Archive {path}: {self}{more}", hint=_AGAIN)


# -- what is in a stream ---------------------------------------------------------------------------------------------


def scan(stream: _Readable) -> Contents:
    """Read a stream of ``docker save`` to its end; return what it holds. Raises _DamagedError when it is none."""
    counted = _Counted(stream)
    documents: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=counted, mode="r|", bufsize=PIECE) as archive:  # type: ignore[call-overload]
            for member in archive:
                documents.setdefault(member.name.removeprefix("./"), b"")
                if member.isreg() and member.size <= MOST and _may_describe(member.name):
                    data = archive.extractfile(member).read()
                    if data[:1] in (b"{", b"["):
                        documents[member.name.removeprefix("./")] = data
    except tarfile.TarError as error:
        raise _DamagedError(f"it is cut off or damaged ({error})") from error
    while counted.read(PIECE):
        pass
    return Contents(_images(documents), counted.size)


def _may_describe(name: str) -> bool:
    return name.endswith(".json") or "blobs/sha256/" in name


class _Counted:
    def __init__(self, stream: _Readable) -> None:
        self._stream = stream
        self.size = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.size += len(data)
        return data


def _images(documents: Mapping[str, bytes]) -> tuple[Held, ...]:
    if not documents.get("manifest.json"):
        raise _DamagedError("it has no manifest.json, so it is no archive of images, or is cut off")
    try:
        entries = json.loads(documents["manifest.json"])
        if not isinstance(entries, list) or not all(map(_is_entry, entries)):
            seen = json.dumps(entries)
            raise _DamagedError(
                f"what it says of its images cannot be understood: manifest.json is {seen[:80]}, and a list of objects "
                "with Config, RepoTags and Layers was needed"
            )
        manifests = _manifests(documents)
        images = tuple(_held(entry, documents, manifests) for entry in entries)
    except ValueError as error:
        raise _DamagedError(f"what it says of its images cannot be understood: {error}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise _DamagedError(
            "what it says of its images cannot be understood: index.json, a manifest or a configuration is of another "
            "shape than an image's"
        ) from error
    if not images:
        raise _DamagedError("it holds no image")
    return images


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str):
        return False
    lists = [entry.get(key) or [] for key in ("RepoTags", "Layers")]
    return all(isinstance(words, list) and all(isinstance(word, str) for word in words) for words in lists)


def _held(entry: Mapping[str, Any], documents: Mapping[str, bytes], manifests: Mapping[str, list[str]]) -> Held:
    name = str(entry["Config"])
    data = documents.get(name)
    if not data:
        raise _DamagedError(
            f"what it says of its images cannot be understood: {name} is not in it, or no configuration"
        )
    if absent := [layer for layer in entry.get("Layers") or () if layer.removeprefix("./") not in documents]:
        raise _DamagedError(f"the layer {absent[0]} is not in it")
    if strange := [name for name in entry.get("RepoTags") or () if not _NAME.fullmatch(name)]:
        raise _DamagedError(f"it calls an image {strange[0]!r}, and NAME:TAG was needed")
    digest = hashlib.sha256(data).hexdigest()
    if name.removesuffix(".json").rpartition("/")[2] != digest:
        raise _DamagedError(f"the configuration {name} is damaged: its digest is {digest}")
    config = json.loads(data)
    platform = [config["os"], config["architecture"], config.get("variant") or ""]
    layers = tuple((config.get("rootfs") or {}).get("diff_ids") or ())
    ids = (f"sha256:{digest}", *manifests.get(f"sha256:{digest}", ()))
    return Held(tuple(map(plain, entry.get("RepoTags") or ())), ids, "/".join(filter(None, platform)), layers)


def _manifests(documents: Mapping[str, bytes]) -> dict[str, list[str]]:
    """Return digest of a configuration -> digests of what stands for it in an OCI layout, the outermost first."""
    found: dict[str, list[str]] = {}

    def follow(descriptor: Mapping[str, Any], above: tuple[str, ...]) -> None:
        digest = str(descriptor["digest"])
        data = documents.get(f"blobs/sha256/{digest.removeprefix('sha256:')}")
        document = json.loads(data) if data else {}
        here = (*above, digest)
        for inner in document.get("manifests") or ():
            follow(inner, here)
        if "config" in document:
            found.setdefault(str(document["config"]["digest"]), []).extend(here)

    index = json.loads(documents["index.json"]) if "index.json" in documents else {}
    for descriptor in index.get("manifests") or ():
        follow(descriptor, ())
    return found


# -- what is in a file -----------------------------------------------------------------------------------------------


def describe(path: Path) -> Contents:
    """Return what an archive holds.

    Raises:
        ConfigError: there is none, or it is cut off, damaged or something else.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"Archive {path} is no file")
        return _described(path, (status.st_ino, status.st_size, status.st_mtime_ns))
    except OSError as error:
        raise ConfigError(f"Archive {path} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=32)
def _described(path: Path, _stamp: tuple[int, ...]) -> Contents:
    with path.open("rb") as file:
        contents, _ = _written(path, file)
        if contents:
            return contents
        try:
            return scan(_opened(path, file))
        except _DamagedError as error:
            raise error.of(path) from error


def _written(path: Path, file: IO[bytes]) -> tuple[Contents | None, int]:
    """Return what the end of an archive says of it, and where that begins; None and the length without such an end.

    Raises:
        ConfigError: it has such an end, which is damaged, or of a later version.
    """
    length = file.seek(0, os.SEEK_END)
    if length < _END.size:
        return None, length
    try:
        return _told(path, file, length)
    except _DamagedError as error:
        raise error.of(path) from error


def _told(path: Path, file: IO[bytes], length: int) -> tuple[Contents | None, int]:
    file.seek(length - _END.size)
    size, mark = _END.unpack(file.read(_END.size))
    start = length - _END.size - size - 8
    if mark != _MARK or start < 0:
        if _has_rest_of_end(file, length):
            raise _DamagedError("it is cut off or damaged: of what it says of itself there is a part only")
        return None, length
    file.seek(start)
    if file.read(8) != struct.pack("<II", _SKIPPABLE, size + _END.size):
        raise _DamagedError("it is damaged: what it says of itself does not begin where its end says")
    try:
        told = json.loads(file.read(size))
        if told["format"] > FORMAT:
            raise ConfigError(
                f"Archive {path} was made by a later version of harness ({told.get('by')}), which writes format "
                f"{told['format']}; this one reads {FORMAT}"
            )
        images = tuple(
            Held(tuple(image["names"]), tuple(image["ids"]), str(image["platform"]), tuple(image["layers"]))
            for image in told["images"]
        )
        _ = [image.ids[0] for image in images] or images[0]  # there is one, and each has an id
        return Contents(images, int(told["size"]), str(told["made"]), str(told["by"])), start
    except (ValueError, LookupError, TypeError) as error:
        why = str(error) if isinstance(error, ValueError) else "something is missing there, or of another kind"
        raise _DamagedError(f"what it says of itself cannot be understood: {why}") from error


def _has_rest_of_end(file: IO[bytes], length: int) -> bool:
    """Return whether a file through zstd ends in a part of a description."""
    file.seek(0)
    if not file.read(4).startswith(_ZSTD):
        return False
    file.seek(max(length - MOST, 0))
    data = file.read()
    at = data.rfind(struct.pack("<I", _SKIPPABLE))
    if at < 0 or not _BEGIN.match(data, at):
        return False
    # Else it is in the middle of what somebody else has compressed.
    return len(data) < at + 8 or at + 8 + int.from_bytes(data[at + 4 : at + 8], "little") >= len(data)


def _opened(path: Path, file: IO[bytes], end: int | None = None) -> _Readable:
    """Return what reads an archive without its compression, from its start to ``end`` (None: of the file).

    Raises:
        ConfigError: it is none, or the package that reads it is not installed.
    """
    file.seek(0)
    head = file.read(512)
    file.seek(0)
    bounded = file if end is None else _Bounded(file, end)
    if head.startswith(_ZSTD) or head[1:4] == _IS_SKIPPABLE:
        reader = _zstandard(path).ZstdDecompressor().stream_reader(bounded, read_size=PIECE, read_across_frames=True)
    elif head.startswith(_GZIP):
        reader = gzip.GzipFile(fileobj=file)
    elif head[_TAR_MARK_AT:].startswith(_TAR_MARK):
        reader = file
    else:
        raise ConfigError(
            f"Archive {path} is none: a file of `docker save` was needed, plain or compressed by zstd or gzip"
        )
    return _Decompressed(reader)


class _Bounded:
    def __init__(self, file: IO[bytes], end: int) -> None:
        self._file = file
        self._left = end

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data


class _Decompressed:
    """Reads what something decompresses; each kind of damage is the same error."""

    def __init__(self, reader: Any) -> None:  # noqa: ANN401 - of three libraries
        self._reader = reader

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._reader.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _DamagedError(f"it is cut off or damaged ({error})") from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("zstandard", "zstd"):
                raise
            raise _DamagedError(f"it is damaged ({error})") from error
        return data


def _zstandard(path: Path) -> Any:  # noqa: ANN401 - its stubs come with it, and it may not be there
    try:
        import zstandard  # noqa: PLC0415 - of an extra
    except ImportError as error:
        raise ConfigError(
            f"Archive {path} needs the package zstandard, which is not installed",
            hint="pip install 'integration-harness[archives]'",
        ) from error
    return zstandard


# -- save ------------------------------------------------------------------------------------------------------------


def check_writable(path: Path) -> None:
    """Raise ConfigError when an archive cannot be written: no folder for it, or no package zstandard."""
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"Archive {path} cannot be written: its folder does not exist")
    _zstandard(path)


def save(api: Api, images: Mapping[str, str], path: Path) -> Contents:
    """Write images to an archive, which is there whole or not at all.

    Args:
        api: of the engine.
        images: name (or id) -> id of each.
        path: the archive; one that is there is replaced.

    Raises:
        ConfigError: the package zstandard is not installed, or the folder cannot be written.
        BrokenStack: the engine refused, an image became another one meanwhile, or the disk is full.
        EngineUnreachableError: the engine fell silent.
    """
    from urllib.parse import urlencode  # noqa: PLC0415 - only here

    compressor = _zstandard(path).ZstdCompressor(level=LEVEL, threads=-1, write_checksum=True)
    by = f"harness {version('integration-harness')}, {ask(api.daemon)}"
    wanted = urlencode([("names", name) for name in images])
    with (
        whole(path) as file,
        api.stream("GET", f"/images/get?{wanted}", within=FIRST_BYTE, silence=SILENCE) as answer,
    ):
        with compressor.stream_writer(file, closefd=False) as writer:
            try:
                contents = scan(_Copied(_FromEngine(answer, str(api.daemon.host)), writer))
            except _DamagedError as error:
                raise BrokenStack(f"{path}: what the engine gave is no archive: {error}") from error
        ids = {digest for image in contents.images for digest in image.ids}
        if changed := [name for name, digest in images.items() if digest not in ids]:
            raise BrokenStack(f"Image {changed[0]!r} became another one while it was saved", hint="save it again")
        made = datetime.now(UTC).isoformat(timespec="seconds")
        _describe_at_end(file, Contents(contents.images, contents.size, made, by))
    return Contents(contents.images, contents.size, made, by)


def _describe_at_end(file: IO[bytes], contents: Contents) -> None:
    told = json.dumps({"format": FORMAT, **asdict(contents)}).encode()
    end = _END.pack(len(told), _MARK)
    file.write(struct.pack("<II", _SKIPPABLE, len(told) + len(end)) + told + end)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Give a file that becomes ``path`` when all went well, and is gone when it did not.

    Raises:
        ConfigError: it cannot be made.
        BrokenStack: the disk is full.
    """
    part = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except HarnessError:
        part.unlink(missing_ok=True)
        raise
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritable(f"Archive {path} cannot be written", error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class _FromEngine:
    """Reads an engine's answer. Raises EngineUnreachableError when that breaks off."""

    def __init__(self, answer: _Readable, host: str) -> None:
        self._answer = answer
        self._host = host

    def read(self, size: int) -> bytes:
        from http.client import HTTPException  # noqa: PLC0415 - only with an engine

        try:
            return self._answer.read(size)
        except (OSError, HTTPException) as error:
            raise EngineUnreachableError(f"Docker engine {self._host} broke off: {cause_of(error)}") from error


class _Copied:
    """Reads a stream, and writes to a file what was read."""

    def __init__(self, stream: _Readable, file: IO[bytes]) -> None:
        self._stream = stream
        self._file = file

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._file.write(data)
        return data


# -- load ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loaded:
    """An image of an archive that the engine has.

    Attributes:
        image: as the archive has it.
        id: as the engine has it.
        was_there: whether the engine had it before.
    """

    image: Held
    id: str
    was_there: bool


def load(client: APIClient, path: Path, *, named: bool = True) -> list[Loaded]:
    """Have an engine have the images of an archive; nothing is loaded when it has them all.

    Args:
        client: of the engine.
        path: the archive.
        named: whether their names must be there too; if not, what had one of them before keeps it.

    Raises:
        ConfigError: there is no such archive, it is damaged, or of another platform than the engine.
        BrokenStack: the engine refused, or has another image than the archive says.
        EngineUnreachableError: it did not answer.
    """
    contents = describe(path)
    with in_words(f"Archive {path}"):
        store = _Store.of(client)
        for image in contents.images:
            store.refuse_foreign(path, image)
        before = [store.find(client, image, named=named) for image in contents.images]
        if all(before):
            return [Loaded(image, found, was_there=True) for image, found in zip(contents.images, before, strict=True)]
        # The engine has its names moved as soon as it has taken an image, whichever that is.
        _check(path)
        had = {name: image_id(client, name) for image in contents.images for name in image.names}
        try:
            said = _send(client, path, contents)
            loaded = [_verified(client, store, path, image, said) for image in contents.images]
        except HarnessError:
            _give_back(client, had)
            raise
        if not named:
            _give_back(client, {name: id_ for name, id_ in had.items() if id_})
        return loaded


def _check(path: Path) -> None:
    """Do nothing when what an archive says of itself is what is in it: its names are all that a load moves."""
    with path.open("rb") as file:
        told, end = _written(path, file)
        if told is None:
            return
        try:
            different = _difference(told, scan(_opened(path, file, end)))
        except _DamagedError as error:
            raise error.of(path, "; nothing of it was taken") from error
    if different:
        raise _DamagedError(different).of(path, "; nothing of it was taken")


def _difference(told: Contents, found: Contents) -> str:
    """Return how what is in an archive differs from what it says of itself, "" where it does not."""
    if found.size != told.size:
        return f"it is damaged: {found.size} bytes came out of it, and it says {told.size}"
    for kind in ("names", "ids", "platform", "layers"):
        says, has = ([getattr(image, kind) for image in one.images] for one in (told, found))
        for one, other in zip_longest(says, has):
            if one != other:
                return f"it is damaged: of an image it says {kind} {_shown(one)}, and in it there is {_shown(other)}"
    return ""


def _shown(words: str | Sequence[str] | None) -> str:
    return words if isinstance(words, str) else ", ".join(words or ()) or "none"


def _give_back(client: APIClient, had: Mapping[str, str | None]) -> None:
    """Have names stand for the images that they stood for: name -> id of what had it, None for nothing."""
    for name, id_ in had.items():
        with contextlib.suppress(HarnessError), in_words(f"Image {name!r}"):
            if (now := image_id(client, name)) == id_:
                continue
            if id_:
                repository, _, tag = name.rpartition(":")
                client.tag(id_, repository, tag)
            elif now:
                client.remove_image(name)


def archived_id(path: Path) -> str:
    """Return the id of the image of an archive, as engines with the classic store have it.

    Raises:
        ConfigError: as ``describe`` does, or it has several images.
    """
    images = describe(path).images
    if len(images) > 1:
        names = ", ".join(map(str, images))
        raise ConfigError(f"Archive {path} has {len(images)} images ({names}); a service runs one")
    return images[0].ids[0]


def load_one(client: APIClient, path: Path) -> str:
    """Have an engine have the image of an archive; return its id there. Raises as ``archived_id`` and ``load`` do."""
    archived_id(path)
    return load(client, path, named=False)[0].id


@dataclass(frozen=True)
class _Store:
    """How an engine keeps images.

    Attributes:
        platform: what it runs.
        by_manifest: whether an id is the digest of a manifest, which an engine with such a store makes anew for an
            archive that has none.
    """

    platform: str
    by_manifest: bool

    @classmethod
    def of(cls, client: APIClient) -> _Store:
        facts: dict[str, Any] = client.version()
        info: dict[str, Any] = client.info()
        kinds = [str(value) for pair in info.get("DriverStatus") or () for value in pair]
        by_manifest = any(kind.startswith("io.containerd.snapshotter") for kind in kinds)
        return cls(f"{facts.get('Os', '')}/{facts.get('Arch', '')}", by_manifest)

    def refuse_foreign(self, path: Path, image: Held) -> None:
        if "/".join(image.platform.split("/")[:2]) != self.platform:
            raise ConfigError(
                f"Archive {path}: image {str(image)!r} is for {image.platform}, and the engine runs {self.platform}"
            )

    def find(self, client: APIClient, image: Held, *, named: bool) -> str:
        """Return the id by which the engine has an image, "" when it has not, or not by its names if these count."""
        found = next((there for digest in image.ids if (there := image_id(client, digest))), "")
        if self.by_manifest and not found:
            found = next((there for name in image.names if (there := self._same(client, name, image))), "")
        if found and named and any(image_id(client, name) != found for name in image.names):
            return ""
        return found

    @staticmethod
    def _same(client: APIClient, name: str, image: Held) -> str:
        there = image_id(client, name)
        if not there:
            return ""
        facts: dict[str, Any] = client.inspect_image(there)  # type: ignore[no-untyped-call]
        layers = tuple((facts.get("RootFS") or {}).get("Layers") or ())
        return there if layers == image.layers else ""


def _send(client: APIClient, path: Path, contents: Contents) -> list[str]:
    """Give an archive to an engine; return what it says."""
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        with path.open("rb") as file:
            _, end = _written(path, file)
            stream = _opened(path, file, end)
            while data := stream.read(PIECE):
                sent += len(data)
                yield data
        if sent != contents.size:
            raise _DamagedError(f"it is cut off: {sent} of {contents.size} bytes came out of it")

    from harness.docker_sdk import APIError  # noqa: PLC0415 - loaded where an engine is in use

    said: list[str] = []
    before, client.timeout = client.timeout, int(LOAD_BUDGET)
    try:
        for event in client.load_image(pieces()):  # type: ignore[no-untyped-call]
            if "error" in event:
                raise _refusal(path, str(event["error"]))
            said.append(str(event.get("stream") or ""))
    except _DamagedError as error:
        raise error.of(path, "; nothing of it was taken") from error
    except APIError as error:
        raise _refusal(path, str(error.explanation or error)) from error
    finally:
        client.timeout = before
    return [line.strip() for line in said if line.strip()]


def _refusal(path: Path, words: str) -> HarnessError:
    """Return the error of an engine that refused an archive: the archive's own where its words are of what is in it."""
    if "no space left" not in words.lower() and _OF_THE_ARCHIVE.search(words):
        return _DamagedError(f"a layer or document in it is damaged: the engine that read it says {words!r}").of(path)
    return BrokenStack(f"Archive {path}: the engine refused: {words}")


def _verified(client: APIClient, store: _Store, path: Path, image: Held, said: Sequence[str]) -> Loaded:
    found = store.find(client, image, named=True)
    if found:
        return Loaded(image, found, was_there=False)
    there = next((other for name in image.names if (other := image_id(client, name))), "none of that name")
    raise BrokenStack(
        f"Archive {path}: image {str(image)!r} is {image.ids[0]} in it, and {there} on the engine that took it",
        details=list(said),
        hint="what the archive says of itself does not fit what is in it; save it again (its names were taken back)",
    )
