"""Which files of this machine decide what a service does, so that old code can be told from new."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.engine import sources
from harness.engine.compose import plan as compose
from harness.engine.identity import Identity
from harness.engine.imports import files_of_command
from harness.engine.layout import dry_layout
from harness.engine.process import plan as embedded
from harness.engine.sources import Checkout, Source, sources_of
from harness.stack import read_tree

if TYPE_CHECKING:
    from harness.stack import Tree

OURS = Identity("/src/checkout", "20260102-030405-abcdef", {"harness.run": "e"})


def write(folder: Path, *names: str) -> None:
    """Write files, each with its name as content."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def tree_of(folder: Path, services: dict[str, Any], **top: Any) -> Tree:
    """Write the stack ``s`` and read it."""
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump({**top, "services": services}, sort_keys=False))
    return read_tree([path], {})


def found(folder: Path, services: dict[str, Any], engine: str = "embedded", **top: Any) -> dict[str, list[Source]]:
    """Return the sources of the services of a stack in ``folder``, which is the checkout."""
    tree = tree_of(folder, services, **top)
    layout = dry_layout(tree, {"PATH": "/usr/bin:/bin"}, {}, engine)
    plan = (
        embedded.plan_stack(tree, "s", layout) if engine == "embedded" else compose.plan_stack(tree, "s", layout, OURS)
    )
    listed = sources_of(tree.root, plan, Checkout(folder, (folder / "logs",)))
    return {name: list(some) for name, some in listed.items()}


def paths(listed: list[Source], folder: Path) -> set[str]:
    """Return the paths of sources, from a folder on."""
    return {str(source.path.relative_to(folder)) for source in listed}


def process(*command: str, **keys: Any) -> dict[str, Any]:
    """Return a service that is a process."""
    harness = keys.pop("harness", {})
    return {"image": "x", **keys, "x-harness": {"embedded": {"command": list(command)}, **harness}}


def test_a_process_has_the_script_that_it_runs_and_what_that_imports_from_beside_it(tmp_path: Path) -> None:
    """Modules beside a script, and packages there, must be its sources; tests and libraries must not."""
    write(tmp_path, "api/db.py", "api/other.py", "api/shop/__init__.py", "tests/test_api.py")
    (tmp_path / "api/app.py").write_text("import json, db\nfrom shop import (\n    cart,\n)\nimport pytest\n")
    listed = found(tmp_path, {"api": process("python", "api/app.py", "--port", "80")})["api"]
    assert paths(listed, tmp_path) == {"api/app.py", "api/db.py", "api/shop"}
    assert {source.read for source in listed} == {"started"}


def test_a_module_is_found_where_its_process_would_find_it(tmp_path: Path) -> None:
    """``-m`` and ``package.module:app`` must mean what is in the process's folder, or on its PYTHONPATH."""
    write(tmp_path, "shop/web.py", "lib/tools/__init__.py", "one.py")
    assert files_of_command(["/usr/bin/uvicorn", "shop.web:app"], tmp_path, {}) == [tmp_path / "shop"]
    assert files_of_command(["python3", "-m", "tools"], tmp_path, {"PYTHONPATH": "lib"}) == [tmp_path / "lib/tools"]
    assert files_of_command(["flask", "--app", "one", "run"], tmp_path, {}) == [tmp_path / "one.py"]
    assert files_of_command(["python3", "-m", "http.server", "80"], tmp_path, {}) == []
    (installed,) = files_of_command([sys.executable, "-m", "harness"], tmp_path, {})
    assert installed == Path(sources.__file__).parents[1]


def test_a_program_of_another_language_is_what_its_command_names(tmp_path: Path) -> None:
    """A program or file that is named must be a source, also as a word of an option; folders outside must not."""
    write(tmp_path, "server/main.js", "build/server", "conf/a.ini")
    (tmp_path / "build/server").chmod(0o755)
    services = {
        "node": process("sh", "server/main.js"),
        "own": process("build/server", "--config=conf/a.ini", "/etc", "."),
    }
    listed = found(tmp_path, services)
    assert paths(listed["node"], tmp_path) == {"server/main.js"}
    assert paths(listed["own"], tmp_path) == {"build/server", "conf/a.ini"}


def test_what_is_mounted_is_a_source_and_data_are_not(tmp_path: Path) -> None:
    """Mounted files and folders count; of a folder that may be written to only what people write, and no data."""
    write(tmp_path, "a.ini", "code/x.py", "rw/x.py", "data/rows")
    mounts = ["./a.ini:/a.ini:ro", "./code:/code:ro", "./rw:/rw", "./data:/data", "named:/n"]
    services = {"db": process("sh", volumes=mounts)}
    top: dict[str, Any] = {"volumes": {"named": {}}, "x-harness": {"data": ["./data"]}}
    listed = {source.path.name: source for source in found(tmp_path, services, **top)["db"]}
    assert listed.keys() == {"a.ini", "code", "rw"}
    assert (listed["a.ini"].read, listed["code"].read) == ("made", "started")  # a process gets a copy of a file
    assert not listed["code"].suffixes
    assert listed["rw"].counts(tmp_path / "rw/x.py")
    assert not listed["rw"].counts(tmp_path / "rw/rows.ibd")


def test_an_image_that_is_built_has_its_context_and_that_of_its_base(tmp_path: Path) -> None:
    """The context of an image, its Dockerfile, and those of the service that it is built from must be its sources."""
    write(tmp_path, "api/app.py", "base/base.txt")
    (tmp_path / "api/Dockerfile").write_text("FROM our-base\n")
    (tmp_path / "base/Dockerfile").write_text("FROM debian\n")
    (tmp_path / "api/.dockerignore").write_text("*.md\n")
    services = {
        "base": {"image": "our-base", "build": "./base", "scale": 0},
        "api": {"build": "./api"},
        "db": {"image": "postgres"},
    }
    listed = found(tmp_path, services, "compose")
    assert paths(listed["api"], tmp_path) == {"api", "api/Dockerfile", "base", "base/Dockerfile"}
    (context,) = (source for source in listed["api"] if source.path == tmp_path / "api")
    assert (context.read, context.ignored) == ("made", ("*.md\n\n!Dockerfile",))
    assert listed["db"] == []


def test_what_a_service_names_counts_with_its_tests_and_must_exist(tmp_path: Path) -> None:
    """``x-harness.sources`` must be sources on each engine, tests too; one that is not there must be told."""
    write(tmp_path, "rules/test_rules.py")
    services = {"api": process("sh", harness={"sources": ["rules", "nowhere"]})}
    listed = found(tmp_path, services)["api"]
    assert listed[0] == Source(tmp_path / "rules", named=True)
    assert listed[0].counts(tmp_path / "rules/test_rules.py")
    assert not Source(tmp_path / "rules").counts(tmp_path / "rules/test_rules.py")
    (problem,) = sources.missing(tree_of(tmp_path, services))
    assert problem.startswith("Service 'api' (")
    assert problem.endswith(f"x-harness.sources names nowhere, and {tmp_path / 'nowhere'} does not exist")
