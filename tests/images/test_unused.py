"""Images that nothing uses: those of ours, and of these only what no container, checkout or image needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.docker_sdk import APIError
from harness.durations import parse_age
from harness.images import own
from harness.images.records import Records, short
from harness.images.unused import Limits, Unused, find_unused, parse_size, remove, total

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86400
NOW = 100 * DAY
CONTENT = "0123456789abcdef"


def built(name: str, checkout: str, *names: str, age: float = 2 * DAY) -> dict[str, Any]:
    """Return what an engine lists of an image that was built for a checkout."""
    tags = [f"harness-build/web:{tag}" for tag in names]
    labels = {"harness.checkout": "x", "harness.checkout.path": checkout}
    return {"Id": name, "RepoTags": tags, "Size": 5 << 20, "Created": NOW - age, "Labels": labels}


def base(digest: str, suite: str, age: float, name: str = "harness-base") -> dict[str, Any]:
    """Return what an engine lists of a base image."""
    labels = {"harness.base": digest, "harness.base.suite": suite}
    tags = [f"{name}:{digest}"]
    return {"Id": f"{name}-{digest}", "RepoTags": tags, "Size": 80 << 20, "Created": NOW - age, "Labels": labels}


class Engine:
    """An engine with these images, of which containers use some; each has the layers of its id and of what is below."""

    def __init__(
        self, *images: dict[str, Any], used: tuple[str, ...] = (), below: dict[str, str] | None = None
    ) -> None:
        self.listed = list(images)
        self.used = used
        self.below = below or {}
        self.removed: list[str] = []

    def images(self) -> list[dict[str, Any]]:
        return self.listed

    def containers(self, *, all: bool) -> list[dict[str, Any]]:  # noqa: A002 - as the SDK has it
        assert all
        return [{"ImageID": image} for image in self.used]

    def inspect_image(self, image: str) -> dict[str, Any]:
        own = [f"layer of {image}"]
        return {"RootFS": {"Layers": [f"layer of {self.below[image]}", *own] if image in self.below else own}}

    def remove_image(self, name: str) -> None:
        if "held" in name:
            raise APIError("409", explanation="a container uses it")
        self.removed.append(name)


def unused(*images: dict[str, Any], tmp_path: Path, here: bool = True, **more: Any) -> list[str]:
    """Return the names of the images that nothing uses; they were built here or not."""
    engine: Any = Engine(*images, **more)
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    for image in images if here else ():
        own.note(image["Id"], environ)
    return [image.name for image in find_unused(engine, environ, now=NOW)]


def theirs(tmp_path: Path) -> list[dict[str, Any]]:
    """Return images that nothing uses as far as can be seen from here, on an engine that others use too."""
    gone = f"{tmp_path}/gone"
    bases = [base("new", "bookworm", 1), base("old", "bookworm", 3)]
    return [built("a", gone, short(gone), CONTENT, age=1), built("b", gone, CONTENT[::-1]), *bases]


def test_images_of_other_machines_and_users_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not built by this user on this machine must stay: no label tells where its path was, or is."""
    images = theirs(tmp_path)
    assert unused(*images, tmp_path=tmp_path, here=False) == []
    with monkeypatch.context() as patch:  # one home folder, two machines
        patch.setattr(own, "machine", lambda: "another")
        for image in images:
            own.note(image["Id"], {"XDG_CACHE_HOME": str(tmp_path)})
        Records(f"{tmp_path}/gone", {"XDG_CACHE_HOME": str(tmp_path)}).note("harness-build/web:x", {}, CONTENT, "a")
    assert unused(*images, tmp_path=tmp_path, here=False) == []
    assert len(unused(*images, tmp_path=tmp_path)) == 4


def test_the_name_that_a_checkout_of_ours_gave_another_ones_image_goes_alone(tmp_path: Path) -> None:
    """Of an image that was taken, and built by somebody else, only the name of our checkout that is gone must go."""
    gone = f"{tmp_path}/gone"
    Records(gone, {"XDG_CACHE_HOME": str(tmp_path)}).note("harness-build/web:x", {}, CONTENT, "a")
    image = built("a", "/their/checkout", short("/their/checkout"), short(gone), CONTENT)
    assert unused(image, tmp_path=tmp_path, here=False) == [f"harness-build/web:{short(gone)}"]


def test_what_was_built_here_is_noted_once(tmp_path: Path) -> None:
    """An image must be noted by its id, once, and what is no such list must count as nothing."""
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    assert own.built_here(environ) == frozenset()
    for image in ("sha256:a", "sha256:b", "sha256:a"):
        own.note(image, environ)
    file = tmp_path / "harness" / own.FILE
    assert (own.built_here(environ), len(file.read_text().splitlines())) == (frozenset(["sha256:a", "sha256:b"]), 2)
    file.write_bytes(b"\xff")
    assert own.built_here(environ) == frozenset()
    assert own.built_here({}) == frozenset()


def test_what_a_checkout_has_stays_and_what_none_has_any_more_goes(tmp_path: Path) -> None:
    """Names of checkouts that are there, and what they have, must stay; of those gone, and what none has, go."""
    here, gone = str(tmp_path), f"{tmp_path}/gone"
    images = [
        built("a", here, short(here), CONTENT),
        built("b", here, CONTENT[::-1]),
        built("c", gone, short(gone), "c" * 16),
        built("d", gone, short(gone), short(here), "d" * 16),
        built("e", "", "87654321", "e" * 16),
    ]
    names = unused(*images, tmp_path=tmp_path)
    left = [f"harness-build/web:{tag}" for tag in (CONTENT[::-1], short(gone), "c" * 16, short(gone))]
    assert sorted(names) == sorted(left)


def test_what_a_container_has_or_is_not_provably_ours_stays(tmp_path: Path) -> None:
    """An image of a container, one without our label or our name, and other names of ours must never be listed."""
    gone = f"{tmp_path}/gone"
    foreign = [built("c", gone), built("d", gone, short(gone))]
    foreign[0]["RepoTags"] = ["mine:latest", "<none>:<none>", "other/harness-build/web:1"]
    foreign[1]["Labels"] = {}
    mixed = built("e", gone, short(gone))
    mixed["RepoTags"] = ["mine:1", *mixed["RepoTags"]]
    names = unused(built("a", gone, short(gone)), *foreign, mixed, tmp_path=tmp_path, used=("a",))
    assert names == [f"harness-build/web:{short(gone)}"]


def test_a_base_of_an_older_recipe_goes_when_nothing_stands_on_it(tmp_path: Path) -> None:
    """The newest base of each release must stay, one that an image or container uses too, and what only names one."""
    images = [
        base("new", "bookworm", 1),
        base("old", "bookworm", 3),
        base("below", "bookworm", 4),
        base("used", "bookworm", 5),
        base("other", "trixie", 9),
        base("old", "bookworm", 9, name="mine"),
        {"Id": "x", "RepoTags": ["x:1"], "Size": 1, "Created": NOW, "Labels": {}},
    ]
    names = unused(*images, tmp_path=tmp_path, used=("harness-base-used",), below={"x": "harness-base-below"})
    assert names == ["harness-base:old"]


@pytest.mark.parametrize(
    ("limits", "taken"),
    [
        (Limits(), {"gone", "old"}),
        (Limits(older_than=0), {"gone", "old", "new"}),
        (Limits(older_than=3 * DAY), {"old"}),
        (Limits(older_than=0, larger_than=6), {"old"}),
    ],
)
def test_age_and_size_say_which_go(limits: Limits, taken: set[str]) -> None:
    """Without words only what no checkout needs, or a day old, must go; with an age all of that age, whatever it is."""
    images = (Unused("gone", 5, 60, "", is_orphan=True), Unused("new", 5, 60, ""), Unused("old", 7, 4 * DAY, ""))
    assert {image.name for image in images if limits.take(image)} == taken


def test_names_are_removed_and_what_the_engine_refuses_is_told() -> None:
    """Only names must be removed, never by force; a refusal is told and hinders no other."""
    engine: Any = Engine()
    images = [Unused("held:1", 1 << 20, 7200, "is old", id="a"), Unused("a:1", 1 << 20, 3 * DAY, "is old", id="a")]
    told = remove(engine, images)
    assert list(told) == ["image held:1 is old (1 MiB, 2 h old)", "image a:1 is old (1 MiB, 3 d old)"]
    assert ["a container uses it" in why for why in told.values()] == [True, False]
    assert engine.removed == ["a:1"]
    assert total(images) == 1 << 20


def test_ages_and_sizes_are_read() -> None:
    """Days, durations and sizes with their units must be read; all else is refused."""
    assert [parse_age(text) for text in ("7d", "0", "12h", "1m30s")] == [7 * DAY, 0, 12 * 3600, 90]
    assert [parse_size(text) for text in ("5", "1k", "1.5M", "2GiB", "1tb")] == [5, 1 << 10, 3 << 19, 2 << 30, 1 << 40]
    for text in ("d", "-1d", "soon", "1w"):
        with pytest.raises(ValueError, match="such as 7d"):
            parse_age(text)
    for text in ("", "M", "-1", "big", "infG"):
        with pytest.raises(ValueError, match="such as 500M"):
            parse_size(text)
