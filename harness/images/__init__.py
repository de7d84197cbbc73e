"""Images: which one a service runs, how it comes to the engine, and the base that ours are built on."""

from harness.images.base import find_base, make_base
from harness.images.bases import Basis, bases_of, dockerfile_of, idle_of
from harness.images.dockerfiles import familiar
from harness.images.faults import Written, build_error
from harness.images.git import check_out, git_folder
from harness.images.making import (
    BASE_ARGUMENT,
    INSTALL_BUILDX,
    Builder,
    Builds,
    build_arguments,
    builder,
    builds_of,
    choose_base,
    default_base,
    ensure_base,
    ensure_image,
    image_id,
)
from harness.images.subjects import Choice, choose, variable_of, with_subjects

__all__ = [
    "BASE_ARGUMENT",
    "INSTALL_BUILDX",
    "Basis",
    "Builder",
    "Builds",
    "Choice",
    "Written",
    "bases_of",
    "build_arguments",
    "build_error",
    "builder",
    "builds_of",
    "check_out",
    "choose",
    "choose_base",
    "default_base",
    "dockerfile_of",
    "ensure_base",
    "ensure_image",
    "familiar",
    "find_base",
    "git_folder",
    "idle_of",
    "image_id",
    "make_base",
    "variable_of",
    "with_subjects",
]
