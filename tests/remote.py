"""A Docker engine out of reach but for its API, as ``.ci/remote_engine.py`` makes one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from checkout import ROOT

from harness import procs
from harness.daemon import Daemon, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.docker_sdk import APIClient

SCRIPT = ROOT / ".ci" / "remote_engine.py"
START_BUDGET, COPY_BUDGET = 120.0, 120.0
GROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/pids")  # of version 2, and of version 1


def command(*words: object) -> procs.Finished:
    """Run the script."""
    return procs.run([sys.executable, str(SCRIPT), *map(str, words)], timeout=START_BUDGET, env=os.environ, cwd=ROOT)


@contextlib.contextmanager
def engine(*hidden: Path) -> Iterator[Daemon]:
    """Start an engine that does not see this project and the ``hidden`` folders; nothing of it is left."""
    if os.geteuid() != 0 or not shutil.which("dockerd", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"):
        pytest.skip("only root, with dockerd, can start an engine in namespaces of its own")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="hre-") as parent:  # a short path, for sockets
        folder = Path(parent, "e")
        started = command("start", folder, port, *hidden)
        assert started.code == 0, started.stderr
        group = json.loads((folder / "engine.json").read_text())["cgroup"]
        try:
            yield Daemon(started.stdout.strip(), "DOCKER_HOST")
        finally:
            stopped = command("stop", folder)
            assert stopped.code == 0, stopped.stderr
        assert not folder.exists()
        assert not any(Path(place, group).exists() for place in GROUPS)


def copy_image(source: APIClient, image: str, daemon: Daemon) -> Any:
    """Have an engine have an image of another one; return a client of it."""
    client: Any = connect(daemon, timeout=COPY_BUDGET)
    client.load_image(source.get_image(image))
    return client
