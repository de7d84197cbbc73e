"""The engine that stands for one on another machine: only its API can be reached."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import containers
import pytest
import remote
from checkout import ROOT

from harness.locality import why_elsewhere

if TYPE_CHECKING:
    from pathlib import Path

    from harness.docker_sdk import APIClient


def test_nothing_but_its_api_is_reached_and_nothing_of_it_is_left(engine_client: APIClient) -> None:
    """A published port is refused here, a folder of this project is empty there, and it ends without a trace."""
    actor = containers.actor_image(engine_client)
    with remote.engine() as daemon:
        assert why_elsewhere(daemon)
        client = remote.copy_image(engine_client, actor, daemon)
        host = client.create_host_config(port_bindings={80: ("127.0.9.9", 8080)}, binds=[f"{ROOT}:/here"])
        made: Any = client.create_container(actor, ["serve:0.0.0.0:80:0", "wait"], ports=[80], host_config=host)
        client.start(made["Id"])
        assert client.inspect_container(made["Id"])["State"]["Running"]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.9.9", 8080), timeout=2)
        listed = client.exec_create(made["Id"], ["ls", "/here"])
        assert client.exec_start(listed["Id"]) == b""
        client.close()


def test_a_folder_that_is_there_is_refused(tmp_path: Path) -> None:
    """It is not filled with what ``stop`` would then remove."""
    (tmp_path / "mine").write_text("mine")
    done = remote.command("start", tmp_path, 1)
    assert done.code == 1
    assert "is there already" in done.stderr or "only root" in done.stderr
    assert (tmp_path / "mine").read_text() == "mine"
