"""What ``doctor`` says of an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fake_engine import FakeEngine

from harness.verbs.doctor import examine

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project


def examined(project: Project, engine: FakeEngine, **environ: str) -> dict[str, tuple[str, str, str]]:
    """Return what is found about a project whose engine is ``engine``: state, what was seen, what to do."""

    def no_images(_: str, path: str) -> tuple[int, Any] | None:
        return (200, []) if path == "/images/json" else None

    engine.before = no_images
    project.environ |= {"DOCKER_HOST": engine.daemon.host, "HARNESS_ENGINE": "auto", **environ}
    with engine.running():
        return {finding.what: (finding.state, finding.seen, finding.next) for finding in examine(project.settings())}


def test_podman_is_called_so(project: Project, tmp_path: Path) -> None:
    """Podman must have its own name and version, its own builder, and nothing said of versions of Docker."""
    engine = FakeEngine(tmp_path / "podman.sock", kind="Libpod/5.4.2")
    found = examined(project, engine)
    host = engine.daemon.host
    assert found["podman"] == ("ok", f"5.4.2 (API 1.41) at {host} (DOCKER_HOST)", "")
    assert found["builder"] == ("ok", "podman (Podman builds by itself)", "")
    assert "Podman 5.4.2 answers" in found["engine in force"][1]
    assert not {"docker engine", "engine version"} & found.keys()


def test_a_docker_engine_that_is_too_open_is_told(project: Project, tmp_path: Path) -> None:
    """A Docker engine before 28 must be told of its published ports."""
    found = examined(project, FakeEngine(tmp_path / "docker.sock", kind="Docker/26.1.5"))
    assert found["docker engine"][1].startswith("26.1.5 (API 1.41) at ")
    assert found["engine version"][1].startswith("26.1.5 is older than 28.0: ")


def test_rootless_podman_is_told_with_what_to_do(project: Project, tmp_path: Path) -> None:
    """Podman of a user must be a warning under ``auto``, which goes without it, and a failure where it is wanted."""
    for name, state in (("auto", "warning"), ("compose", "failure")):
        engine = FakeEngine(tmp_path / f"{name}.sock", kind="Libpod/5.4.2")
        engine.user, engine.info = 1000, {"Rootless": True}
        found = examined(project, engine, HARNESS_ENGINE=name)
        assert found["podman"][0] == state
        assert "runs rootless" in found["podman"][1]
        assert "systemctl start podman.socket" in found["podman"][2]
        assert "published ports" not in found


def test_a_table_of_a_subject_that_no_stack_has_is_told(project: Project, tmp_path: Path) -> None:
    """A misspelt subject must be named with those that there are, and one of any stack, or by its service, not."""
    engine = FakeEngine(tmp_path / "docker.sock")
    project.stack("a", {"web": {"image": "web:1", "x-harness": {"subject": "shop"}}})
    project.stack("b", {"db": {"image": "db:1"}})
    tables = "".join(f'[tool.harness.subjects.{name}]\nprebuilt = "x:1"\n' for name in ("shop", "db", "shpo"))
    (project.root / "pyproject.toml").write_text(tables)
    found = examined(project, engine)
    assert [what for what in found if what.startswith("subject ")] == ["subject shpo"]
    state, seen, todo = found["subject shpo"]
    assert (state, "has a service or subject 'shpo'" in seen) == ("warning", True), seen
    assert "[tool.harness.subjects.shpo]" in seen
    assert todo.startswith("there are: db, shop, web")
