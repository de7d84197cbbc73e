"""Images in files: what is known of an archive, how one is written and loaded, and what is said of one that is none."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import resource
import socketserver
import struct
import sys
import tarfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import zstandard

from harness.daemon import Api, Daemon
from harness.docker_sdk import ImageNotFound
from harness.errors import BrokenStack, ConfigError, EngineUnreachableError, HarnessError
from harness.images import archives
from harness.images.archives import archived_id, describe, load, load_one, save
from harness.verbs import images as verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FILLING = bytes(range(256)) * 4096  # a layer of a MiB


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def config(text: str = "one", platform: str = "linux/amd64") -> bytes:
    """Return the configuration of an image that is another for each text."""
    system, machine = platform.split("/")
    layers = [f"sha256:{digest(text.encode())}"]
    return json.dumps({"os": system, "architecture": machine, "rootfs": {"diff_ids": layers}}).encode()


def tar(files: dict[str, bytes]) -> bytes:
    """Return a tar of files."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files.items():
            facts = tarfile.TarInfo(name)
            facts.size = len(data)
            archive.addfile(facts, io.BytesIO(data))
    return made.getvalue()


def saved(*images: tuple[str, bytes], layer: bytes = b"l/layer.tar", **more: bytes) -> bytes:
    """Return what ``docker save`` of images gives: names -> their configurations."""
    files = {"l/layer.tar": FILLING, **{f"{digest(data)}.json": data for _, data in images}}
    listed = [
        {"Config": f"{digest(data)}.json", "RepoTags": [name] if name else None, "Layers": [layer.decode()]}
        for name, data in images
    ]
    return tar({**files, "manifest.json": json.dumps(listed).encode(), "repositories": b"{}", **more})


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# -- what is known of an archive -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress, lambda data: zstandard.compress(data)[:0]])
def test_an_archive_of_docker_is_known_however_it_is_compressed(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """Names, id, platform and size must be those of what is in the file; an empty file is no archive."""
    data = saved(("a:1", config()), ("", config("two")))
    path = write(tmp_path / "a", pack(data))
    if not path.stat().st_size:
        with pytest.raises(ConfigError, match="is none"):
            describe(path)
        return
    contents = describe(path)
    assert [image.names for image in contents.images] == [("a:1",), ()]
    assert contents.images[0].ids == (f"sha256:{digest(config())}",)
    assert {image.platform for image in contents.images} == {"linux/amd64"}
    assert contents.size == len(data)


def test_an_image_of_an_oci_layout_has_the_ids_of_both_stores(tmp_path: Path) -> None:
    """What newer engines save must be known by its configuration and by its manifests."""
    inner = config()
    manifest = json.dumps({"config": {"digest": f"sha256:{digest(inner)}"}, "layers": []}).encode()
    index = json.dumps({"manifests": [{"digest": f"sha256:{digest(manifest)}"}]}).encode()
    files = {f"blobs/sha256/{digest(data)}": data for data in (inner, manifest, index)}
    files["index.json"] = json.dumps({"manifests": [{"digest": f"sha256:{digest(index)}"}]}).encode()
    listed = [{"Config": f"blobs/sha256/{digest(inner)}", "RepoTags": ["docker.io/library/a:1"]}]
    path = write(tmp_path / "a.tar", tar({**files, "manifest.json": json.dumps(listed).encode()}))
    (image,) = describe(path).images
    assert image.ids == tuple(f"sha256:{digest(data)}" for data in (inner, index, manifest))
    assert image.names == ("a:1",)


WHOLE = saved(("a:1", config()))
MADE = zstandard.compress(WHOLE)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"hello" * 200, "is none: a file of `docker save` was needed, plain or compressed by zstd or gzip"),
        (WHOLE[: 1 << 19], "it is cut off or damaged"),
        (MADE[: len(MADE) // 2], "it is cut off or damaged"),
        (gzip.compress(WHOLE)[:4000], "it is cut off or damaged"),
        (zstandard.compress(b"hello" * 200), "it is cut off or damaged"),
        (MADE[:9] + b"\xff" * 64 + MADE[73:], "it is damaged"),
        (tar({"a": b"1"}), "it has no manifest.json"),
        (tar({"manifest.json": b"[]"}), "it holds no image"),
        (tar({"manifest.json": b"[1]"}), "manifest.json is [1], and a list of objects with Config, RepoTags"),
        (tar({"manifest.json": b'{"a": 1}'}), 'manifest.json is {"a": 1}, and a list of objects'),
        (tar({"manifest.json": b'[{"Config": "x.json", "RepoTags": 5}]'}), "a list of objects with Config"),
        (saved(("Not A Name:::", config())), "it calls an image 'Not A Name:::', and NAME:TAG was needed"),
        (saved(("a:1", config()), layer=b"x.tar"), "the layer x.tar is not in it"),
        (tar({"manifest.json": b'[{"Config": "x.json"}]'}), "what it says of its images cannot be understood"),
        (saved(("a:1", config()), **{f"{digest(config())}.json": b"{}"}), "is damaged: its digest is"),
    ],
)
def test_what_is_no_archive_is_told(data: bytes, problem: str, tmp_path: Path) -> None:
    """A file that is cut off, damaged or something else must be told by its name, with what is wrong."""
    path = write(tmp_path / "a", data)
    with pytest.raises(ConfigError) as caught:
        describe(path)
    assert caught.value.summary.startswith(f"Archive {path}")
    assert problem in caught.value.summary


def test_an_archive_that_is_missing_is_told(tmp_path: Path) -> None:
    """The error must name the file."""
    with pytest.raises(ConfigError, match=r"none\.tar cannot be read: No such file or directory"):
        describe(tmp_path / "none.tar")


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs zstandard must say which extra brings it; a plain file needs none."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert describe(write(tmp_path / "plain", WHOLE)).images
    with pytest.raises(ConfigError, match="needs the package zstandard") as caught:
        describe(write(tmp_path / "packed", MADE))
    assert "integration-harness[archives]" in caught.value.hint


def test_without_the_package_nothing_is_built_to_be_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save must tell of the missing package before it looks at any stack or engine."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    nothing, file = cast("Any", None), str(tmp_path / "a.tar.zst")
    with pytest.raises(ConfigError, match="needs the package zstandard"):
        verb.save_all(nothing, nothing, file)
    with pytest.raises(ConfigError, match="needs the package zstandard"):
        verb.save(nothing, nothing, file, subjects=(), images=())


# -- save ------------------------------------------------------------------------------------------------------------


class _Handler(http.server.BaseHTTPRequestHandler):
    """An engine that gives ``data`` for each image, in pieces, and breaks off after ``most`` bytes."""

    protocol_version = "HTTP/1.1"
    data, most, asked = b"", 1 << 40, ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Api-Version", "1.41")
        self.send_header("Server", "Docker/20.10.24 (linux)")
        if self.path == "/_ping":
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"OK")
            return
        type(self).asked = self.path
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, min(len(self.data), self.most), 65536):
            piece = self.data[start : start + 65536]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if self.most > len(self.data):
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def version_string(self) -> str:
        return "Docker/20.10.24 (linux)"

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def engine(folder: Path, data: bytes, most: int = 1 << 40) -> Iterator[tuple[Api, type[_Handler]]]:
    """Give an engine that saves ``data``."""
    handler = type("Handler", (_Handler,), {"data": data, "most": most, "asked": ""})
    with socketserver.ThreadingUnixStreamServer(str(folder / "s"), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield Api(Daemon(f"unix://{folder}/s", "a test")), handler
        finally:
            server.shutdown()


def test_a_saved_archive_says_what_it_holds_at_its_end(tmp_path: Path) -> None:
    """Every decompressor must give the engine's bytes, and its end tell images, size, time and maker."""
    path = tmp_path / "a.tar.zst"
    ident = f"sha256:{digest(config())}"
    with engine(tmp_path, WHOLE) as (api, handler):
        told = save(api, {"a:1": ident, "b": ident}, path)
    assert handler.asked == "/images/get?names=a%3A1&names=b"
    with path.open("rb") as file:
        assert zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read() == WHOLE
    assert describe(path) == told
    assert (told.size, str(told.images[0]), archived_id(path)) == (len(WHOLE), "a:1", ident)
    assert told.by.startswith("harness ")
    assert "Docker engine 20.10.24" in told.by
    assert list(tmp_path.glob("*.part")) == []


def test_a_damaged_end_is_told(tmp_path: Path) -> None:
    """An archive of ours must be refused when its end is cut off, or when a bit of that is another one."""
    path = tmp_path / "a.tar.zst"
    with engine(tmp_path, WHOLE) as (api, _):
        save(api, {"a:1": ID}, path)
    data = path.read_bytes()
    start = data.rindex(struct.pack("<I", 0x184D2A5D))
    for end in (*range(start + 4, start + 40), len(data) - 20, len(data) - 1):
        with pytest.raises(ConfigError, match="is cut off or damaged"):
            describe(write(tmp_path / "cut", data[:end]))
    unknown = data.index(b'"size"', start)
    for at in (*range(start, start + 20), *range(unknown, unknown + 12), *range(len(data) - 12, len(data))):
        flipped = bytearray(data)
        flipped[at] ^= 4
        with pytest.raises(ConfigError) as caught:
            load(client(Engine(takes={})), write(tmp_path / "flipped", bytes(flipped)))
        assert str(tmp_path / "flipped") in caught.value.summary
        assert caught.value.hint == "save it again" or "later version" in caught.value.summary, at
    assert describe(write(tmp_path / "foreign", data[:start])).by == ""  # what is left is whole, and of anybody


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"names": ["a:1"]', '"names": ["c:1"]'),
        (digest(b"one"), digest(b"two")),
        (digest(config()), digest(b"two")),
        ('"size": ', '"size": 1'),
    ],
)
def test_an_archive_that_says_what_is_not_in_it_is_not_given(before: str, after: str, tmp_path: Path) -> None:
    """Names, layers, ids and size must be those of what is in an archive, else the engine gets nothing of it."""
    path = tmp_path / "a.tar.zst"
    with engine(tmp_path, WHOLE) as (api, _):
        save(api, {"a:1": ID}, path)
    data = path.read_bytes()
    start = data.rindex(struct.pack("<I", 0x184D2A5D))
    told = data[start + 8 : -12].replace(before.encode(), after.encode())
    assert told != data[start + 8 : -12]
    end = told + struct.pack("<I8s", len(told), b"harness!")
    write(path, data[:start] + struct.pack("<II", 0x184D2A5D, len(end)) + end)
    taker = Engine({"a:1": "sha256:mine"}, takes={"a:1": ID, ID: ID})
    with pytest.raises(ConfigError) as caught:
        load(client(taker), path)
    assert caught.value.summary.startswith(f"Archive {path}: it is damaged: ")
    assert caught.value.summary.endswith("; nothing of it was taken")
    assert (taker.there, taker.sent) == ({"a:1": "sha256:mine"}, [])


@pytest.mark.parametrize("images", ["[]", '[{"names": ["a:1"], "ids": [], "platform": "linux/amd64", "layers": []}]'])
def test_an_end_that_tells_of_no_image_is_told(images: str, tmp_path: Path) -> None:
    """An archive whose description has no image, or one without an id, must be refused as damaged."""
    told = f'{{"format": 1, "images": {images}, "size": 1, "made": "", "by": ""}}'.encode()
    end = struct.pack("<I8s", len(told), b"harness!")
    path = write(tmp_path / "a", MADE + struct.pack("<II", 0x184D2A5D, len(told) + len(end)) + told + end)
    with pytest.raises(ConfigError, match="what it says of itself cannot be understood"):
        archived_id(path)


def test_what_is_no_file_is_no_archive(tmp_path: Path) -> None:
    """A pipe must be refused, and not be waited for."""
    os.mkfifo(tmp_path / "a")
    with pytest.raises(ConfigError, match="is no file"):
        describe(tmp_path / "a")


def test_two_saves_of_one_archive_are_both_whole(tmp_path: Path) -> None:
    """Saves at the same time must not write into each other's file, nor into one of the user's of such a name."""
    path = tmp_path / "a.tar.zst"
    mine = write(tmp_path / "a.tar.zst.part", b"mine")
    first, second = archives.whole(path), archives.whole(path)
    with first as one:
        one.write(b"one")
        with second as two:
            two.write(b"two")
        assert path.read_bytes() == b"two"
    assert (path.read_bytes(), mine.read_bytes()) == (b"one", b"mine")
    assert path.stat().st_mode == mine.stat().st_mode
    assert sorted(tmp_path.iterdir()) == [path, mine]


def test_an_archive_of_a_later_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive whose end this version does not know must name both formats."""
    monkeypatch.setattr(archives, "FORMAT", 7)
    with engine(tmp_path, WHOLE) as (api, _):
        save(api, {"a:1": f"sha256:{digest(config())}"}, tmp_path / "a")
    monkeypatch.setattr(archives, "FORMAT", 1)
    with pytest.raises(ConfigError) as caught:
        describe(tmp_path / "a")
    assert "was made by a later version of harness" in caught.value.summary
    assert caught.value.summary.endswith("writes format 7; this one reads 1")


@contextmanager
def little_room(size: int) -> Iterator[None]:
    """Let files grow to ``size`` bytes only."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("case", ["full", "breaks off", "another image", "no archive", "no folder"])
def test_a_save_that_fails_leaves_what_was_there(case: str, tmp_path: Path) -> None:
    """Whatever goes wrong, no part of an archive must be left, and one of before stay as it was."""
    path = write(tmp_path / "a.tar.zst", b"before")
    noise = saved(("a:1", config()), noise=bytes(hashlib.shake_256(b"x").digest(1 << 20)))
    data, most, ident = noise, 1 << 40, f"sha256:{digest(config())}"
    kind, problem = BrokenStack, ""
    if case == "full":
        problem = "cannot be written"
    elif case == "breaks off":
        most, kind, problem = 1 << 19, cast("Any", EngineUnreachableError), "broke off"
    elif case == "another image":
        ident, problem = f"sha256:{digest(b'')}", "Image 'a:1' became another one while it was saved"
    elif case == "no archive":
        data, problem = tar({"a": b"1"}), "what the engine gave is no archive: it has no manifest.json"
    else:
        path, kind, problem = tmp_path / "none/a", cast("Any", ConfigError), "cannot be written: No such file"
    with (
        engine(tmp_path, data, most) as (api, _),
        little_room(1 << 18 if case == "full" else resource.RLIM_INFINITY),
        pytest.raises((kind, ConfigError) if case == "full" else kind, match=problem),
    ):
        save(api, {"a:1": ident}, path)
    assert (tmp_path / "a.tar.zst").read_bytes() == b"before"
    assert list(tmp_path.glob("*.part")) == []


# -- load ------------------------------------------------------------------------------------------------------------


class Engine:
    """An engine that has ``images`` (name or id -> id), and takes archives; ``takes`` is what it then has of them."""

    timeout, refuses = 60, ""

    def __init__(self, images: dict[str, str] | None = None, *, takes: dict[str, str], manifests: bool = False) -> None:
        self.there = images or {}
        self.takes = takes
        self.manifests = manifests
        self.sent: list[bytes] = []

    def version(self) -> dict[str, str]:
        return {"Os": "linux", "Arch": "amd64"}

    def info(self) -> dict[str, Any]:
        return {"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]] if self.manifests else [["x", "y"]]}

    def inspect_image(self, image: str) -> dict[str, Any]:
        if image not in self.there:
            raise ImageNotFound("no such image")
        layers = [f"sha256:{digest(b'one')}"]
        return {"Id": self.there[image], "RootFS": {"Layers": layers}}

    def load_image(self, data: Iterable[bytes]) -> Iterator[dict[str, str]]:
        self.sent.append(b"".join(data))
        if self.refuses:
            yield {"error": self.refuses}
            return
        self.there |= self.takes
        yield {"stream": "Loaded image: a:1\n"}

    def tag(self, image: str, repository: str, tag: str) -> None:
        self.there[f"{repository}:{tag}"] = image

    def remove_image(self, image: str) -> None:
        del self.there[image]


ID = f"sha256:{digest(config())}"


def client(engine: Engine) -> Any:
    return engine


def test_an_archive_is_loaded_once(tmp_path: Path) -> None:
    """The engine must get the bytes that were saved, have the recorded id, and a second time get nothing."""
    path = tmp_path / "a.tar.zst"
    with engine(tmp_path, WHOLE) as (api, _):
        save(api, {"a:1": ID}, path)
    taker = Engine(takes={"a:1": ID, ID: ID})
    (loaded,) = load(client(taker), path)
    assert (loaded.id, loaded.was_there, taker.sent) == (ID, False, [WHOLE])
    (loaded,) = load(client(taker), path)
    assert (loaded.id, loaded.was_there, len(taker.sent)) == (ID, True, 1)
    del taker.there["a:1"]
    assert load_one(client(taker), path) == ID
    assert len(taker.sent) == 1
    assert load(client(taker), path)[0].was_there is False  # its name is not there


def test_another_id_is_told(tmp_path: Path) -> None:
    """An engine that has another image under the name after it took an archive must end the load with both ids."""
    path = write(tmp_path / "a.tar", WHOLE)
    with pytest.raises(BrokenStack) as caught:
        load(client(Engine(takes={"a:1": "sha256:other", "sha256:other": "sha256:other"})), path)
    assert caught.value.summary == (
        f"Archive {path}: image 'a:1' is {ID} in it, and sha256:other on the engine that took it"
    )


@pytest.mark.parametrize("before", [{}, {"a:1": "sha256:mine"}])
def test_an_archive_that_is_not_what_it_says_leaves_no_name(before: dict[str, str], tmp_path: Path) -> None:
    """A load that fails because the engine has another image then must leave each name as it was before."""
    path = write(tmp_path / "a.tar", WHOLE)
    taker = Engine(dict(before), takes={"a:1": "sha256:other"})
    with pytest.raises(BrokenStack, match="on the engine that took it"):
        load(client(taker), path)
    assert taker.there == before


def test_an_archive_of_a_service_leaves_names_of_others(tmp_path: Path) -> None:
    """A service runs an archive's image by its id, so what had the image's name before must keep it."""
    path = write(tmp_path / "a.tar", WHOLE)
    taker = Engine({"a:1": "sha256:mine"}, takes={"a:1": ID, ID: ID})
    assert load_one(client(taker), path) == ID
    assert taker.there == {"a:1": "sha256:mine", ID: ID}
    assert load_one(client(taker), path) == ID
    assert len(taker.sent) == 1


def test_an_engine_that_calls_images_by_manifests_may_give_another_id(tmp_path: Path) -> None:
    """With containerd's store an image of the same layers under the name must be the one, whatever its id."""
    path = write(tmp_path / "a.tar", WHOLE)
    taker = Engine(takes={"a:1": "sha256:other", "sha256:other": "sha256:other"}, manifests=True)
    assert load_one(client(taker), path) == "sha256:other"
    assert load_one(client(taker), path) == "sha256:other"
    assert len(taker.sent) == 1


def test_an_image_of_another_platform_is_not_loaded(tmp_path: Path) -> None:
    """The error must name both platforms, and the engine get nothing."""
    taker = Engine(takes={})
    path = write(tmp_path / "a.tar", saved(("a:1", config(platform="linux/s390x"))))
    with pytest.raises(ConfigError, match="image 'a:1' is for linux/s390x, and the engine runs linux/amd64"):
        load(client(taker), path)
    assert taker.sent == []


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ('invalid diffID for layer 0: expected "sha256:a", got "sha256:b"', ConfigError),
        ("archive/tar: invalid tar header", ConfigError),
        ("write /var/lib/docker/x: no space left on device", BrokenStack),
        ("the plugin is not there", BrokenStack),
    ],
)
def test_an_archive_that_an_engine_finds_damaged_is_told(words: str, kind: type[HarnessError], tmp_path: Path) -> None:
    """What an engine says of an archive's content must be an error of the archive, and no other refusal one."""
    path = write(tmp_path / "a.tar", WHOLE)
    taker = Engine(takes={})
    taker.refuses = words
    with pytest.raises(kind) as caught:
        load(client(taker), path)
    assert caught.value.summary.startswith(f"Archive {path}: ")
    assert words in caught.value.summary
    assert (caught.value.hint == "save it again") == (kind is ConfigError)


def test_a_damaged_middle_is_told_and_not_given_to_the_end(tmp_path: Path) -> None:
    """Damage that is found while an archive is given must end it before the engine has it all."""
    path = tmp_path / "a.tar.zst"
    with engine(tmp_path, WHOLE) as (api, _):
        save(api, {"a:1": ID}, path)
    data = bytearray(path.read_bytes())
    data[20:40] = bytes(20)
    write(path, bytes(data))
    taker = Engine(takes={})
    with pytest.raises(ConfigError) as caught:
        load(client(taker), path)
    assert "damaged" in caught.value.summary
    assert caught.value.summary.endswith("; nothing of it was taken")
    assert taker.sent == []


def test_a_service_runs_one_image(tmp_path: Path) -> None:
    """An archive with several images must be refused where a service is to run it."""
    path = write(tmp_path / "a.tar", saved(("a:1", config()), ("b:1", config("two"))))
    with pytest.raises(ConfigError, match=r"has 2 images \(a:1, b:1\); a service runs one"):
        archived_id(path)
