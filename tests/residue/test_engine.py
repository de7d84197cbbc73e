"""What tests leave at a container engine that everybody uses: what is theirs is found, and nothing of a stranger's."""

from __future__ import annotations

import os
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING

import containers
import pytest

from harness.daemon import Api, find_daemon
from harness.ownership.objects import RUN
from harness.residue.engine import EngineObjects, bears
from harness.residue.watching import Left, difference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.docker_sdk import APIClient


def test_a_name_is_borne_also_where_it_must_have_hyphens() -> None:
    """Names that may have no ``_`` must be known too, and those of other tests and workers must not be."""
    names = ["w0_test_it_0123abcd"]
    assert bears("shop-w0_test_it_0123abcd-1", names)
    assert bears("w0-test-it-0123abcd", names)
    assert not bears("w3_test_it_0123abcd", names)
    assert not bears("w0_test_it_0123abce", names)
    assert not bears("w0_test_it_0123abcd", [])


@pytest.fixture
def until() -> Iterator[ExitStack]:
    """What is to be done at the end of a test."""
    with ExitStack() as stack:
        yield stack


def test_what_bears_a_tests_name_and_what_is_of_its_environment_is_found_and_nothing_else(
    engine_client: APIClient, until: ExitStack
) -> None:
    """Containers, networks and volumes must be told by name or label, and those that a stranger makes must not."""
    ns, env = f"w0_test_it_{uuid.uuid4().hex[:8]}", f"test-{uuid.uuid4().hex[:8]}"
    image = containers.actor_image(engine_client)
    given: list[str] = []
    watcher = EngineObjects(Api(find_daemon(os.environ), within=10), env, lambda: given)
    before, glance = watcher.look(), watcher.glance()
    given.append(ns)
    stranger = f"w3_test_it_{uuid.uuid4().hex[:8]}"
    for name in (ns, stranger):
        made = engine_client.create_container(image, ["wait"], name=f"{name}-1", labels={containers.LABEL: "1"})
        until.callback(engine_client.remove_container, made["Id"], force=True)
        engine_client.create_volume(f"{name}_data")
        until.callback(engine_client.remove_volume, f"{name}_data")
    for name, labels in ((f"net-{ns}", {}), (f"{env}-labelled", {RUN: env}), (stranger, {RUN: f"{env}x"})):
        network = engine_client.create_network(name, labels=labels)
        until.callback(engine_client.remove_network, network["Id"])
    assert watcher.glance() != glance
    assert set(difference(watcher.kind, before, watcher.look())) == {
        Left("engine", f"container {ns}-1", f"{image}, created"),
        Left("engine", f"volume {ns}_data"),
        Left("engine", f"network net-{ns}"),
        Left("engine", f"network {env}-labelled", "of this environment"),
    }
    until.close()
    assert watcher.look() == before
