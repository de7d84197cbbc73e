"""The containers, networks and volumes of an environment: found by label, removed by full id, then looked for again.

Nothing is removed by name. An object is ours when its labels carry the environment's id *and* the nonce that only its
ledger knows; without a ledger, when its labels name an owner of this user and machine that is proven dead.
"""

from __future__ import annotations

import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from harness.clock import Deadline, poll
from harness.daemon import request
from harness.ownership.identity import Owner, is_proven_dead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from docker import APIClient

    from harness.daemon import Daemon

SCHEMA = "1"
RUN, NONCE, STACK, OWNER = "harness.run", "harness.nonce", "harness.stack", "harness.owner"
CHECKOUT, CREATED, SCHEMA_LABEL = "harness.checkout", "harness.created", "harness.schema"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
VERIFY_BUDGET = 5.0


@dataclass(frozen=True)
class Object:
    """A labelled container, network or volume.

    Attributes:
        kind: container, network or volume.
        id: its full id; a volume's is its name.
        name: for people.
        labels: its labels.
    """

    kind: str
    id: str
    name: str
    labels: dict[str, str]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def find(client: APIClient, label: str, kinds: Iterable[str] = ("container", "network", "volume")) -> list[Object]:
    """Return the objects with ``label`` (``key`` or ``key=value``), containers first."""
    filters = {"label": [label]}
    found: list[Object] = []
    for kind in kinds:
        if kind == "container":
            for one in client.containers(all=True, filters=filters):
                name = next(iter(one.get("Names") or ()), one["Id"][:12]).lstrip("/")
                found.append(Object(kind, one["Id"], name, one.get("Labels") or {}))
        elif kind == "network":
            listed = client.networks(filters=filters)
            found += [Object(kind, one["Id"], one["Name"], one.get("Labels") or {}) for one in listed]
        else:
            listed = client.volumes(filters=filters).get("Volumes") or ()
            found += [Object(kind, one["Name"], one["Name"], one.get("Labels") or {}) for one in listed]
    return found


@dataclass(frozen=True)
class Refusal:
    """Why an object is still there.

    Attributes:
        reason: in words.
        final: whether trying again is of no use, because somebody else's container is in the way.
    """

    reason: str
    final: bool = False


def remove(client: APIClient, one: Object, ours: Callable[[dict[str, str]], bool]) -> Refusal | None:
    """Remove an object that was just listed, forced; return None or why it is still there.

    Ids of containers and networks are never used again and their labels never change, so the list is proof enough; a
    volume has only a name, and is asked once more.
    """
    from docker.errors import APIError, NotFound  # noqa: PLC0415 - the SDK is loaded where an engine is in use
    from requests.exceptions import RequestException  # noqa: PLC0415

    try:
        if one.kind == "container":
            client.remove_container(one.id, v=True, force=True)
        elif one.kind == "network":
            _disconnect(client, one, ours)
            client.remove_network(one.id)
        elif not ours(client.inspect_volume(one.id).get("Labels") or {}):
            return Refusal(f"{one}: its labels are not ours", final=True)
        else:
            client.remove_volume(one.id, force=True)
    except NotFound:
        return None
    except APIError as error:
        users = _foreign_users(client, one, ours)
        if users:
            return Refusal(f"{one}: it is used by {', '.join(users)}, not ours", final=True)
        return Refusal(f"{one}: {error.explanation or error}")
    except RequestException as error:
        return Refusal(f"{one}: {error}")
    return None


def _disconnect(client: APIClient, network: Object, ours: Callable[[dict[str, str]], bool]) -> None:
    """Take our own containers, which live on in another stack, off a network."""
    for container in client.inspect_network(network.id).get("Containers") or {}:
        if ours(client.inspect_container(container)["Config"]["Labels"] or {}):
            client.disconnect_container_from_network(container, network.id, force=True)


def _foreign_users(client: APIClient, one: Object, ours: Callable[[dict[str, str]], bool]) -> list[str]:
    """Return whose containers, not ours, keep a network or volume from being removed."""
    from docker.errors import DockerException  # noqa: PLC0415
    from requests.exceptions import RequestException  # noqa: PLC0415

    if one.kind == "container":
        return []
    with contextlib.suppress(DockerException, RequestException):
        # A stopped container is no hindrance to a network, but the filter finds both.
        users = client.containers(all=True, filters={one.kind: one.id})
        return [
            f"container {next(iter(user.get('Names') or ()), user['Id'][:12]).lstrip('/')}"
            for user in users
            if not ours(user.get("Labels") or {})
        ]
    return []


def remove_all(
    client: APIClient,
    label: str,
    ours: Callable[[dict[str, str]], bool],
    *,
    kinds: Iterable[str] = ("container", "network", "volume"),
    where: Callable[[dict[str, str]], bool] = lambda _: True,
    settle: float = 0.0,
) -> list[str]:
    """Remove every object with ``label`` that is ours and ``where`` wants; look again until none is there.

    Args:
        client: the engine.
        label: what to list by.
        ours: tells by labels whether an object may be touched.
        kinds: what to look for, in this order.
        where: narrows the choice.
        settle: seconds to go on looking, for what a killed ``up`` had asked the engine for.

    Returns:
        What is left, in words.
    """
    found: list[Object] = []
    refused: dict[str, Refusal] = {}
    deadline, quiet = Deadline.after(VERIFY_BUDGET + settle), Deadline.after(settle)
    again = threading.Event()
    for turn in poll(deadline, wake=again):
        found = [one for one in find(client, label, kinds) if ours(one.labels) and where(one.labels)]
        if (not found and quiet.expired()) or any(refused[one.id].final for one in found if one.id in refused):
            break
        refused = {}
        for kind in kinds:
            mine = [one for one in found if one.kind == kind]
            if mine:
                with ThreadPoolExecutor(max_workers=min(8, len(mine))) as pool:
                    answers = pool.map(lambda one: remove(client, one, ours), mine)
                    refused |= {one.id: no for one, no in zip(mine, answers, strict=True) if no}
        if not turn and found and not refused:
            again.set()  # it should all be gone: look at once
    return [refused[one.id].reason if one.id in refused else f"{one}: still there" for one in found]


def owner_of(labels: dict[str, str]) -> Owner | None:
    """Return the owner that labels name, None when they name none that can be read."""
    try:
        return Owner(**json.loads(labels[OWNER]))
    except (KeyError, TypeError, ValueError):
        return None


def _dead_owners(here: Owner, *, local: bool) -> Callable[[dict[str, str]], bool]:
    """Return what tells by labels whether an object is ours and its owner proven dead.

    Args:
        here: the calling process.
        local: whether the engine is certainly on this machine. An owner of another boot is proven dead only there:
            elsewhere it may be a run on another machine, and machine ids are copied with images.
    """

    def ours(labels: dict[str, str]) -> bool:
        owner = owner_of(labels)
        return (
            labels.get(SCHEMA_LABEL) == SCHEMA
            and bool(labels.get(NONCE))
            and owner is not None
            and is_proven_dead(owner, here)
            and (owner.boot == here.boot or (local and bool(owner.machine)))
        )

    return ours


def find_orphans(client: APIClient, here: Owner, known: set[str], *, local: bool) -> dict[str, list[Object]]:
    """Return environment -> what carries our labels, is in no ledger of ``known``, and whose owner is proven dead."""
    ours = _dead_owners(here, local=local)
    found: dict[str, list[Object]] = {}
    for one in find(client, RUN):
        env = one.labels.get(RUN, "")
        if env and env not in known and ours(one.labels):
            found.setdefault(env, []).append(one)
    return found


def environments(daemon: Daemon) -> set[str]:
    """Return the environments of which something is on an engine, whosever they are. Raises HarnessError."""
    filters = quote(json.dumps({"label": [RUN]}))
    listed = [request(daemon, "GET", f"/{what}filters={filters}") for what in ("containers/json?all=1&", "networks?")]
    listed.append(request(daemon, "GET", f"/volumes?filters={filters}")["Volumes"])
    return {(one.get("Labels") or {}).get(RUN, "") for found in listed for one in found or ()} - {""}


def remove_orphans(client: APIClient, here: Owner, known: set[str], *, local: bool) -> list[str]:
    """Remove what ``find_orphans`` finds; return one line for each environment."""
    ours = _dead_owners(here, local=local)
    told = []
    for env in sorted(find_orphans(client, here, known, local=local)):
        left = remove_all(client, f"{RUN}={env}", ours)
        told.append(
            f"containers of environment {env}, whose ledger is lost and whose owner is dead, "
            + (f"could not be cleared: {'; '.join(left)}" if left else "were cleared")
        )
    return told
