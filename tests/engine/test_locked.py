"""What containers are about to run is what the lock holds, also when that was looked at before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness.engine.compose.launch import Launch
from harness.engine.compose.locked import refuse_others
from harness.engine.plan import ContainerPlan, Containers, StackPlan
from harness.errors import ConfigError
from harness.images import lock
from harness.images.fingerprint import Found, Ingredients
from harness.images.lock import LockedImage
from harness.images.records import by_content
from harness.ownership.objects import BUILT

if TYPE_CHECKING:
    from pathlib import Path

OURS = "harness-build/s/web:5270b558"
MADE_OF = Ingredients(lines=("a",), bases={"base:1": "sha256:base"})
LOCKED = [
    LockedImage("s", "db", "declared", image="db:1", id="sha256:db", digests=("db@sha256:1",)),
    LockedImage("s", "web", "build", id="sha256:w", fingerprint=MADE_OF.fingerprint, bases=MADE_OF.bases),
]
DB = ContainerPlan(stack="s", service="db", env={}, endpoints=(), grace=1.0, image="db:1")
WEB = ContainerPlan(stack="s", service="web", env={}, endpoints=(), grace=1.0, image=OURS, strategy="build")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The lock of a project."""
    lock.write(tmp_path / lock.FILE, LOCKED)
    return tmp_path / lock.FILE


def refused(path: Path, plan: ContainerPlan, facts: dict[str, Any], found: Found | None = None) -> str:
    """Return why an image is refused, "" when it is not."""
    try:
        refuse_others(path, [plan], {plan.image: found} if found else {}, {plan.image: facts})
    except ConfigError as error:
        return error.summary
    return ""


def test_an_image_that_was_pulled_since_is_refused(path: Path) -> None:
    """An image must be that of the lock by its id or a digest when it is about to run, whatever it was before."""
    assert refused(path, DB, {"Id": "sha256:db"}) == ""
    assert refused(path, DB, {"Id": "sha256:here", "RepoDigests": ["db@sha256:1"]}) == ""
    assert "'db:1' is other; db was needed" in refused(path, DB, {"Id": "sha256:other"})


def test_sources_that_were_changed_since_are_refused(path: Path) -> None:
    """An image that was built must be made of what the lock says, and of nothing that was changed meanwhile."""
    assert refused(path, WEB, {}, Found("sha256:any", MADE_OF)) == ""
    other = Ingredients(lines=("b",), bases=MADE_OF.bases)
    assert f"is made of {other.fingerprint}; {MADE_OF.fingerprint}" in refused(path, WEB, {}, Found("sha256:w", other))
    doubted = Ingredients(lines=("a",), doubts=("it was changed while it was built",))
    assert "it was changed while it was built" in refused(path, WEB, {}, Found("sha256:w", doubted))


def test_an_image_that_is_not_built_now_is_known_by_its_names(path: Path) -> None:
    """Without a build the image of the checkout must be one that was built as what the lock says, and has its name."""
    made_of = by_content(OURS, MADE_OF.fingerprint)
    built = {"Id": "sha256:w", "Config": {"Labels": {BUILT: OURS.rpartition(":")[0]}}}
    assert refused(path, WEB, {**built, "RepoTags": [OURS, made_of]}) == ""
    assert refused(path, WEB, {**built, "RepoTags": [OURS, f"localhost/{made_of}"]}) == ""
    assert f"{MADE_OF.fingerprint} was needed" in refused(path, WEB, {**built, "RepoTags": [OURS]})
    given_the_name = {"Id": "sha256:any", "RepoTags": [OURS, made_of]}
    assert f"{MADE_OF.fingerprint} was needed" in refused(path, WEB, given_the_name)


@pytest.mark.parametrize("locked", [True, False])
def test_a_launch_compares_what_it_has_found(path: Path, *, locked: bool) -> None:
    """With ``--locked`` a launch must refuse what is not in the lock by its own look; else it must go on."""
    settings = SimpleNamespace(
        root=path.parent, state=path.parent, build="never", pull="never", locked=locked, environ={}, wait_timeout=None
    )
    client = SimpleNamespace(inspect_image=lambda _: {"Id": "sha256:other"})
    report = SimpleNamespace(image=lambda *_, **__: None)
    place: Any = SimpleNamespace(settings=settings, folder=path.parent, client=client, report=report, images={})
    (path.parent / "compose").mkdir()
    containers = Containers(project="p", arguments=(), override="{}")
    launch = Launch(place, StackPlan("s", "compose", (DB,), (), containers))
    if not locked:
        assert launch.prepare(lambda _: None).services
        return
    with pytest.raises(ConfigError, match="'db:1' is other; db was needed"):
        launch.prepare(lambda _: None)
