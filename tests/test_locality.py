"""Whether an engine is on this machine, told by its address and its networks."""

from __future__ import annotations

from typing import Any

import pytest

from harness.daemon import Daemon
from harness.locality import judge, why_elsewhere

ID = "0123456789abcdef" * 4
MADE = {"Name": "mine", "Id": ID, "Options": {}}
DEFAULT: dict[str, Any] = {
    "Name": "bridge",
    "Id": "f" * 64,
    "Options": {"com.docker.network.bridge.name": "docker0"},
    "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]},
}


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("unix:///run/docker.sock", True),
        ("tcp://127.0.0.1:1", True),
        ("tcp://127.31.7.2:1", True),
        ("tcp://localhost:1", True),
        ("tcp://[::1]:1", True),
        ("tcp://192.0.2.1:2375", False),
        ("tcp://docker:2376", False),
        ("ssh://me@there", False),
    ],
)
def test_an_address_that_is_not_on_loopback_is_elsewhere(host: str, *, near: bool) -> None:
    """A socket of this machine is not; nor is a loopback address where nobody answers who could prove it."""
    assert (why_elsewhere(Daemon(host, "a test")) == "") is near


def test_a_network_proves_where_its_engine_is() -> None:
    """The bridge of a network that an engine has made must be here, by its random id; others prove nothing."""
    assert judge([DEFAULT, MADE], {"lo", "br-0123456789ab"}, lambda _: False) == ""
    assert judge([DEFAULT, MADE], {"lo", "docker0"}, lambda _: True) == (
        "the bridge br-0123456789ab of its network mine is not here"
    )
    renamed = {**MADE, "Options": {"com.docker.network.bridge.name": "mine0"}}
    assert judge([renamed], {"lo"}, lambda _: True) == ""


def test_an_engine_without_networks_of_its_own_is_told_by_the_default_one() -> None:
    """An interface of that name may be another engine's: then its address is another one."""
    assert judge([DEFAULT], {"lo"}, lambda _: True) == "its bridge docker0 is not here"
    assert judge([DEFAULT], {"lo", "docker0"}, lambda address: address == "172.17.0.1") == ""
    assert judge([DEFAULT], {"lo", "docker0"}, lambda _: False) == (
        "its bridge docker0 has 172.17.0.1, which is no address of this machine"
    )
    assert judge([], {"lo"}, lambda _: False) == ""
