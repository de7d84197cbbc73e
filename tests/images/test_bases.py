"""Images that are built from images of other services: found in Dockerfiles, built in order, under our own names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from projects import run_in

from harness.engine.compose.recipes import in_turn, steps_of
from harness.engine.plan import Recipe
from harness.errors import ConfigError
from harness.images import bases_of, idle_of
from harness.runs import running
from harness.stack import read_tree

if TYPE_CHECKING:
    from pathlib import Path

    from containers import Dock

    from harness.images import Basis

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


def built(text: str, **service: Any) -> dict[str, Any]:
    """Return a service whose Dockerfile is ``text``; what is in ``build`` is added to that."""
    more = service.pop("build", {})
    return {**service, "build": {"context": ".", "dockerfile_inline": text.replace("$", "$$"), **more}}


def bases(folder: Path, services: dict[str, Any], *names: str, **environ: str) -> dict[str, Basis]:
    """Return what the images of services of a stack are built from."""
    (folder / "s.yaml").write_text(yaml.safe_dump({"services": services}))
    tree = read_tree([folder / "s.yaml"], environ)
    return bases_of(tree, tree.root, names or list(services), environ, lambda service: "build" in service.compose)


def names_of(found: dict[str, Basis]) -> dict[str, list[str]]:
    """Return service -> those whose images its own is built from."""
    return {name: list(basis.services.values()) for name, basis in found.items()}


def test_an_image_stands_for_its_service_everywhere(tmp_path: Path) -> None:
    """The image of a service must be found in FROM, ``COPY --from`` and additional contexts, however it is written."""
    services = {
        "base": built("FROM scratch", image="me/base"),
        "child": built("FROM docker.io/me/base:latest\nCOPY --from=tool:1 / /", image="child"),
        "tool": built("ARG B\nFROM $B", image="tool:1", build={"args": {"B": "me/base"}}),
        "context": built("FROM x AS y\nFROM y", build={"additional_contexts": {"x": "service:tool"}}),
        "other": built("FROM me/base:2 AS child\nFROM child"),
        "env": built("ARG B\nFROM $B", build={"args": ["B"]}),
    }
    assert names_of(bases(tmp_path, services, B="tool:1")) == {
        "base": [],
        "child": ["base", "tool"],
        "tool": ["base"],
        "context": ["tool"],
        "other": [],
        "env": ["tool"],
    }


def test_a_service_may_build_on_the_image_whose_name_it_takes(tmp_path: Path) -> None:
    """``image: db`` built FROM db must be built from the image of that name on the engine or in a registry."""
    services = {"db": built("FROM db", image="db:latest"), "also": built("FROM db", image="db")}
    assert names_of(bases(tmp_path, services)) == {"db": [], "also": []}


def test_what_is_only_built_from_is_built_too(tmp_path: Path) -> None:
    """A base that is never started, by profile or scale, must be built when something is built from it, else not."""
    services = {
        "web": built("FROM base"),
        "base": built("FROM root", image="base", profiles=["never"]),
        "root": built("FROM scratch", image="root", scale=0),
        "idle": built("FROM scratch", image="idle", profiles=["never"]),
    }
    assert list(bases(tmp_path, services, "web")) == ["web", "base", "root"]
    tree = read_tree([tmp_path / "s.yaml"], {})
    assert ([service.name for service in tree.root.services], sorted(idle_of(tree, tree.root))) == (
        ["web"],
        ["base", "idle", "root"],
    )


def test_what_an_included_stack_has_built_is_not_built_again(tmp_path: Path) -> None:
    """A service of an included stack must be a base that is there already; one that is not started is built."""
    low = {"low": built("FROM scratch", image="low"), "off": built("FROM low", image="off", profiles=["x"])}
    (tmp_path / "below.yaml").write_text(yaml.safe_dump({"services": low}))
    above = {"web": built("FROM low"), "app": built("FROM off")}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"include": ["below.yaml"], "services": above}))
    tree = read_tree([tmp_path / "s.yaml"], {})
    found = bases_of(tree, tree.root, ["web", "app"], {}, lambda _: True)
    assert names_of(found) == {"web": ["low"], "app": ["off"], "off": ["low"]}


def test_builds_come_in_order() -> None:
    """What others are built from must come in an earlier step, what is not asked for and not needed in none."""
    recipes = {"a": Recipe("a", frozenset("bc")), "b": Recipe("b", frozenset("c")), "c": Recipe("c"), "d": Recipe("d")}
    recipes |= {"e": Recipe("e", frozenset(["of-an-included-stack"]))}
    assert steps_of(recipes, ["a", "e"]) == [["c", "e"], ["b"], ["a"]]
    assert steps_of(recipes, ["d"]) == [["d"]]


def test_builds_that_begin_alike_are_not_told_at_once() -> None:
    """The classic builder must get builds of one Dockerfile and folder one after the other, and others at once."""
    here, there = {"context": "/here"}, {"context": "/there"}
    recipes = {
        "leader": Recipe("leader", written="FROM x", section={**here, "target": "daphne"}),
        "client": Recipe("client", written="FROM x", section={**here, "target": "janus"}),
        "other": Recipe("other", written="FROM x", section=there),
        "another": Recipe("another", written="FROM y", section=here),
        "collector": Recipe("collector", written="FROM x", section={**here, "target": "janus"}),
        "afar": Recipe("afar", section={"context": "https://example.org/a.git"}),
        "farther": Recipe("farther", section={"context": "https://example.org/a.git"}),
    }
    assert in_turn(recipes, recipes) == [["leader", "other", "another", "afar", "farther"], ["client"], ["collector"]]


def test_images_that_are_built_from_each_other_are_refused() -> None:
    """A circle must be told as what is wrong with the file, with each service of it."""
    recipes = {"a": Recipe("a", frozenset("b")), "b": Recipe("b", frozenset("c")), "c": Recipe("c", frozenset("a"))}
    with pytest.raises(ConfigError, match="The images of services 'a', 'b', 'c' are built from each other: ") as caught:
        steps_of(recipes, ["a"])
    assert "'a' from 'b'" in str(caught.value)
    assert "'c' from 'a'" in str(caught.value)


def test_a_circle_of_images_ends_a_command_before_anything_is_built(dock: Dock) -> None:
    """Images that are built from each other must be exit code 10."""
    dock.stack("s", {"a": built("FROM b", image="a"), "b": built("FROM a", image="b")})
    done = run_in(dock, *HARNESS, "up", timeout=60)
    assert (done.code, "are built from each other" in done.stderr) == (10, True), done.stderr


def test_a_changed_base_rebuilds_what_is_built_from_it(dock: Dock) -> None:
    """Images must be built on the base of the same file, anew only when that has changed, and nobody's name touched."""
    (dock.root / "word").write_text("one\n")
    names = {name: f"somebody/{dock.checkout}-{name}:1" for name in ("base", "tool", "child", "context")}
    base = built(f"FROM {dock.image}\nCOPY word /word", image=names["base"], profiles=["base"])
    tool = built("FROM scratch\nCOPY word /tool", image=names["tool"], scale=0)
    text = f"ARG B\nFROM $B AS base\nFROM base\nCOPY --from={names['tool']} /tool /tool"
    contexts = {"x": "service:base"}
    dock.stack(
        "s",
        {
            "child": dock.up(
                **built(text, image=names["child"], build={"context": "..", "args": {"B": names["base"]}})
            ),
            "context": dock.up(
                **built("FROM x", image=names["context"], build={"context": "..", "additional_contexts": contexts})
            ),
            "base": {**base, "build": {**base["build"], "context": ".."}},
            "tool": {**tool, "build": {**tool["build"], "context": ".."}},
        },
    )

    def images() -> dict[str, str]:
        done = run_in(dock, *HARNESS, "build", timeout=300)
        assert done.code == 0, done.stderr
        labelled = dock.client.images(filters={"label": f"harness.checkout={dock.checkout}"})
        tags = {tag: image["Id"] for image in labelled for tag in image["RepoTags"] or ()}
        return {tag.partition(":")[0]: one for tag, one in tags.items() if tag != "<none>:<none>"}

    first = images()
    assert sorted(first) == [f"harness-build/s/{name}" for name in ("base", "child", "context", "tool")]
    assert images() == first
    (dock.root / "word").write_text("two\n")
    again = images()
    assert not set(again.values()) & set(first.values())
    with running(dock.run()) as run:
        stack = run.bring("s")
        read = [stack.service(name).exec(["cat", "/word"]).stdout for name in ("child", "context")]
        assert [*read, stack.service("child").exec(["cat", "/tool"]).stdout] == ["two\n"] * 3
        assert sorted(dock.containers()) == ["child", "context"]
    assert not [name for name in names.values() if dock.client.images(name=name)]
