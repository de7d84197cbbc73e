"""Images between engines: how long one takes into a file and back, beside the engine's own stream without us."""

from __future__ import annotations

import io
import os
import random
import tarfile
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.rounds import alternate
from harness import clock
from harness.daemon import Api, connect, find_daemon
from harness.images import archives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.series import Series

TITLE = "an image of 64 MiB into a file and back"
NEEDS: tuple[str, ...] = ("engine",)
ROUNDS = 7
LIMITS = "The engine: it writes each layer to its own disk before it sends the first byte, and again when it takes one."
SIZE = 64 << 20
NAME = "harness-bench-archive"
FLOOR, OURS = "docker save and load, plain", "images.save and images.load"
GOAL = 1.5  # of the floor
PIECE = 1 << 20


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Measure both ways with an image of this process, which is removed in between and at the end."""
    daemon = find_daemon(os.environ)
    with closing(connect(daemon)) as opened:
        client: Any = opened  # its stubs leave out much of what is asked for here
        name = f"{NAME}:{os.getpid()}"
        client.import_image_from_data(_filesystem(), repository=NAME, tag=str(os.getpid()))
        try:
            image = str(client.inspect_image(name)["Id"])

            def plain() -> None:
                path = scratch / "plain.tar"
                with path.open("wb") as file:
                    for piece in client.get_image(name):
                        file.write(piece)
                client.remove_image(name)
                with path.open("rb") as file:
                    list(client.load_image(iter(partial(file.read, PIECE), b"")))

            def ours() -> None:
                path = scratch / "ours.tar.zst"
                archives.save(Api(daemon), {name: image}, path)
                client.remove_image(name)
                assert [loaded.id for loaded in archives.load(client, path)] == [image]

            seen = alternate({FLOOR: partial(_timed, plain), OURS: partial(_timed, ours)}, rounds, say)
        finally:
            with suppress(Exception):
                client.remove_image(name)
    return [seen.series(FLOOR, float), seen.series(OURS, float, against=FLOOR, goal=GOAL)]


def _filesystem() -> bytes:
    """Return a tar with a file of which half can be compressed, as programs can."""
    noise = random.Random(7)  # noqa: S311 - the same each time, for no secret
    block = noise.randbytes(PIECE // 2) + bytes(range(256)) * (PIECE // 512)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        facts = tarfile.TarInfo("data")
        facts.size = SIZE
        archive.addfile(facts, io.BytesIO(block * (SIZE // PIECE)))
    return made.getvalue()


def _timed(act: Callable[[], None]) -> float:
    began = clock.now()
    act()
    return clock.now() - began
