"""Images that were built for checkouts: those of checkouts that are gone can be found and removed, no others."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from containers import Dock
from projects import run_in

from harness.images.built import BuiltImage, built_images

if TYPE_CHECKING:
    from pathlib import Path

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


def test_only_a_checkout_that_is_certainly_gone_makes_an_orphan(tmp_path: Path) -> None:
    """An image whose checkout is there, is not known or cannot be looked at must be no orphan."""
    (tmp_path / "file").touch()
    paths = {str(tmp_path): False, "": False, "x" * 5000: False, f"{tmp_path}/gone": True, f"{tmp_path}/file/x": True}
    assert {path: BuiltImage("harness-build/x:1", 1 << 20, path).is_orphan for path in paths} == paths
    assert str(BuiltImage("harness-build/x:1", 1 << 20, "/gone")) == (
        "image harness-build/x:1 of /gone, which is gone (1 MiB)"
    )


def test_images_of_checkouts_that_are_gone_are_removed(dock: Dock, tmp_path: Path) -> None:
    """``gc --images`` must remove the images of a checkout that is gone, ``doctor`` count them, and others stay."""
    (tmp_path / "other").mkdir()
    other = Dock(tmp_path / "other", dock.state, dock.client, dock.image)
    for project in (dock, other):
        (project.root / "Dockerfile").write_text(f"FROM {dock.image}\n")
        project.stack("s", {"web": project.up(build="..")})
        done = run_in(project, *HARNESS, "build", timeout=120)
        assert done.code == 0, done.stderr
    images = {image.checkout: image.name for image in built_images(dock.client)}
    mine, theirs = images[str(dock.root)], images[str(other.root)]
    shutil.rmtree(other.root)
    told = f"image {theirs} of {other.root}, which is gone"
    assert told in run_in(dock, *HARNESS, "gc", "--dry-run", "--images").stdout
    assert "; nothing uses " in run_in(dock, *HARNESS, "doctor").stdout
    done = run_in(dock, *HARNESS, "gc", "--images")
    assert (done.code, told in done.stdout) == (0, True)
    left = [image.name for image in built_images(dock.client)]
    assert (mine in left, theirs in left) == (True, False)
