"""Which image is whose, when two runs of one checkout build at the same time."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from harness.docker_sdk import ImageNotFound
from harness.engine.compose.building import Building
from harness.engine.compose.override import write
from harness.engine.plan import Containers, Recipe, StackPlan
from harness.errors import BrokenStack
from harness.images import records
from harness.images.fingerprint import Found, Ingredients
from harness.images.making import Builder
from harness.keeper.messages import Compose, StopCompose
from harness.ownership.identity import this_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = "harness-build/s/web:5270b558"


class Engine:
    """An engine that has names of images and nothing else."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {"base:1": "sha256:base"}
        self.removed: list[str] = []
        self.stopped = 0
        self.built_as: dict[str, str] = {}  # of images that were not built as the service's

    def inspect_image(self, image: str) -> dict[str, Any]:
        """Return an image by one of its names, or raise."""
        if image not in self.names:
            raise ImageNotFound(image)
        tags = [name for name in self.names if self.names[name] == self.names[image]]
        labels = {"harness.built": self.built_as.get(self.names[image], NAME.rpartition(":")[0])}
        return {"Id": self.names[image], "RepoTags": tags, "Config": {"Labels": labels}}

    def info(self) -> dict[str, Any]:
        """Return the facts of an engine whose clock is behind."""
        return {"SystemTime": "2001-02-03T04:05:06.123456789Z"}

    def inspect_container(self, container: str) -> dict[str, Any]:
        """Return a step that failed a second after that."""
        created, config = "2001-02-03T04:05:07.123456789Z", {"Image": "sha256:1"}
        return {"Id": container, "Created": created, "Config": config, "State": {"Running": False}}

    def remove_container(self, container: str, *, v: bool) -> None:
        """Note it."""
        assert v
        self.removed.append(container)

    def tag(self, image: str, repository: str, tag: str) -> None:
        """Give an image a name."""
        self.names[f"{repository}:{tag}"] = image

    def remove_image(self, image: str) -> None:
        """Take a name away."""
        self.inspect_image(image)
        del self.names[image]


def building(
    folder: Path,
    engine: Engine,
    word: str,
    build: Callable[[str], int | None],
    *,
    recipe: Recipe | None = None,
    images: dict[str, Found] | None = None,
) -> Building:
    """Return the builds of a run with an argument; ``build`` is told which name Compose has been told.

    ``recipe`` is how its image is built, and ``images`` what the run has built for other stacks.
    """
    for name in ("context", "compose"):
        (folder / name).mkdir(exist_ok=True)
    section = {"context": str(folder / "context"), "args": {"WORD": word}}
    recipe = recipe or Recipe(NAME, written="FROM base:1\nARG WORD\n")
    recipe = replace(recipe, section=section)
    override = write({"services": {"web": {"image": NAME}}})
    containers = Containers(project="p", arguments=(), override=override, build=("web",), recipes={"web": recipe})
    (folder / "override.yaml").write_text(override)

    def ask(command: object, timeout: float = 0) -> dict[str, Any]:
        assert timeout >= 0
        if isinstance(command, StopCompose):
            engine.stopped += 1
            return {}
        assert isinstance(command, Compose)
        files = [after for word, after in zip(command.argv, command.argv[1:], strict=False) if word == "--file"]
        with open(files[-1]) as file:  # noqa: PTH123 - its path is a text
            code = build(yaml.safe_load(file)["services"]["web"]["image"])
        return {"code": code or 0}

    settings = SimpleNamespace(
        root=folder, state=folder, wait_timeout=None, environ={"HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    )
    place: Any = SimpleNamespace(
        settings=settings,
        folder=folder,
        client=engine,
        daemon=SimpleNamespace(host="unix:///here", environment=dict),
        link=SimpleNamespace(ask=ask),
        report=SimpleNamespace(timed=lambda *_: lambda: None),
        show=str,
        images={} if images is None else images,
    )
    made = Building(place, StackPlan("s", "compose", (), (), containers), folder / "override.yaml")
    made._how = Builder("buildkit", "of this test")
    return made


def ids(made: Building) -> dict[str, str]:
    """Return the ids of what was built or was there."""
    return {image: found.id for image, found in made.found.items()}


def test_what_a_run_has_built_is_known_when_another_moves_the_name(tmp_path: Path) -> None:
    """A run that takes the checkout's name while another builds must change neither's image, nor what is told of it."""
    engine = Engine()
    first = building(tmp_path, engine, "A", lambda name: engine.names.update({name: "sha256:A"}))
    assert first.build(lambda _: None) == []
    fingerprint = next(name for name, image in engine.names.items() if image == "sha256:A" and name != NAME)

    def build(name: str) -> int:
        engine.names[name] = "sha256:B"
        records.take(engine, NAME, fingerprint.rpartition(":")[2])  # type: ignore[arg-type]
        return 0

    second = building(tmp_path, engine, "B", build)
    assert second.build(lambda _: None) == []
    assert (ids(first), ids(second)) == ({NAME: "sha256:A"}, {NAME: "sha256:B"})
    names = {image: [name for name in engine.names if engine.names[name] == image] for image in engine.names.values()}
    assert (names["sha256:A"], len(names["sha256:B"]), NAME in names["sha256:B"]) == ([fingerprint], 2, True)
    again = building(tmp_path, engine, "A", lambda _: None)
    assert (again.build(lambda _: None), ids(again)) == (["web"], {NAME: "sha256:A"})


def test_an_image_that_got_the_name_from_somebody_is_not_taken(tmp_path: Path) -> None:
    """What somebody has given the name by content, and was not built under it, must not be run for what was."""
    engine = Engine()
    first = building(tmp_path, engine, "A", lambda name: engine.names.update({name: "sha256:A"}))
    assert first.build(lambda _: None) == []
    fingerprint = next(name for name, image in engine.names.items() if image == "sha256:A" and name != NAME)
    engine.names[fingerprint] = "sha256:theirs"
    engine.built_as["sha256:theirs"] = ""
    again = building(tmp_path, engine, "A", lambda name: engine.names.update({name: "sha256:A2"}))
    assert again.build(lambda _: None) == []
    assert (ids(again), engine.names[fingerprint]) == ({NAME: "sha256:A2"}, "sha256:A2")


BASE = "harness-build/below/base:5270b558"
ON_BASE = Recipe(NAME, written="FROM base\n", text=f"FROM {BASE}\n", stands={"base": BASE}, is_rewritten=True)


@pytest.mark.parametrize("doubts", [(), ("no_cache: true",)])
def test_an_included_stacks_image_is_stood_on_by_its_id(tmp_path: Path, doubts: tuple[str, ...]) -> None:
    """An image must be built from the one that its run has built, whatever the checkout's name stands for by then."""
    engine = Engine()
    engine.names |= {BASE: "sha256:other", "harness-build/below/base:0123": "sha256:ours"}
    ours, stood_on = Found("sha256:ours", Ingredients(lines=("ours",), doubts=doubts)), list[str]()

    def build(name: str) -> int:
        dockerfile = (tmp_path / "compose/s.web.Dockerfile").read_text()
        stood_on.append(engine.names[dockerfile.removeprefix("FROM ").strip()])
        engine.names[name] = "sha256:B"
        return 0

    made = building(tmp_path, engine, "A", build, recipe=ON_BASE, images={BASE: ours})
    assert made.build(lambda _: None) == []
    assert stood_on == ["sha256:ours"]
    stands = f"made of {ours.made_of.fingerprint}" if not doubts else "sha256:ours"
    assert made.found[NAME].made_of.bases == {"base": stands}
    below = {name: image for name, image in engine.names.items() if name.startswith("harness-build/below/")}
    assert below == {BASE: "sha256:other", "harness-build/below/base:0123": "sha256:ours"}


def test_what_was_changed_while_it_was_built_is_not_what_is_built_on_it(tmp_path: Path) -> None:
    """An image whose files were changed under its build must be told by its id in what is built from it."""
    engine = Engine()

    def build(name: str) -> int:
        engine.names[name] = "sha256:A"
        (tmp_path / "context/new").touch()
        return 0

    made = building(tmp_path, engine, "A", build)
    made.build(lambda _: None)
    assert made.found[NAME].made_of.doubts == ("it was changed while it was built",)
    assert made._made.of(NAME) == "sha256:A"


def test_a_build_that_is_given_up_leaves_the_names_of_others(tmp_path: Path) -> None:
    """A build that is interrupted, and whose builder goes on, must not move a name that others use."""
    engine = Engine()
    engine.names[NAME] = "sha256:A"

    def build(name: str) -> int:
        engine.names[name] = "sha256:B"
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        building(tmp_path, engine, "B", build).build(lambda _: None)
    assert engine.names == {"base:1": "sha256:base", NAME: "sha256:A"}
    assert engine.stopped == 1  # before the name was taken away


def _dead() -> dict[str, Any]:
    return {**this_process().as_dict(), "boot": "of before"}


@pytest.mark.parametrize(
    ("facts", "stays"),
    [
        ({}, False),
        ({"owner": this_process().as_dict()}, True),
        ({"owner": {**_dead(), "machine": "another"}}, True),
        ({"owner": {**_dead(), "uid": 4711}}, True),
        ({"owner": {}}, True),
        ({"host": "unix:///there"}, True),
        ({"names": ["harness-build/s/web:build-1", "postgres:16", "harness-build/s/web:0123456789abcdef"]}, True),
    ],
)
def test_what_a_killed_build_left_goes_with_the_next(tmp_path: Path, facts: dict[str, Any], *, stays: bool) -> None:
    """The names of a build whose process is gone must be taken away by the next one, and no others."""
    engine = Engine()
    left = {"harness-build/s/web:build-0": "sha256:X", "harness-build/t/web:build-0": "sha256:Y"}
    others = {"harness-build/s/web:build-1": "sha256:Z", "postgres:16": "sha256:P"}
    engine.names |= left | others | {"harness-build/s/web:0123456789abcdef": "sha256:X"}
    noted = {"host": "unix:///here", "names": [*left, "harness-build/s/web:gone"], "owner": _dead(), **facts}
    file = tmp_path / "harness" / "build-0.begun"
    file.parent.mkdir(mode=0o700)
    file.write_text(json.dumps(noted))
    building(tmp_path, engine, "A", lambda name: engine.names.update({name: "sha256:A"})).build(lambda _: None)
    assert all((name in engine.names) == stays for name in left)
    assert engine.names.items() >= {**others, "harness-build/s/web:0123456789abcdef": "sha256:X"}.items()
    begun = [path.name for path in file.parent.glob("*.begun")]
    assert begun == (["build-0.begun"] if stays and "names" not in facts else [])


def test_a_build_whose_end_is_not_known_is_looked_at_again(tmp_path: Path) -> None:
    """What a build that was interrupted may still be given must be noted, with its process, for the next one."""
    engine = Engine()

    def build(_: str) -> int:
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        building(tmp_path, engine, "B", build).build(lambda _: None)
    [file] = (tmp_path / "harness").glob("build-*.begun")
    facts = json.loads(file.read_text())
    assert facts["names"] == [f"harness-build/s/web:{file.stem}"]
    assert facts["owner"] == this_process().as_dict()


def test_a_step_that_failed_goes_by_the_clock_of_its_engine(tmp_path: Path) -> None:
    """The container of a step must be removed from an engine on another machine whose clock is behind."""
    engine = Engine()
    made = building(tmp_path, engine, "A", lambda _: made.log.write_text(f"---> Running in {'ab' * 6}\n") and 1)
    with pytest.raises(BrokenStack):
        made.build(lambda _: None)
    assert engine.removed == ["ab" * 6]
