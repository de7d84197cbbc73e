"""Images: which one a service runs, how it comes to the engine, and the base that ours are built on."""

from harness.images.base import find_base, make_base
from harness.images.making import (
    Builder,
    build_arguments,
    build_error,
    builder,
    choose_base,
    dockerfile_of,
    ensure_image,
    image_id,
)
from harness.images.subjects import Choice, choose, variable_of

__all__ = [
    "Builder",
    "Choice",
    "build_arguments",
    "build_error",
    "builder",
    "choose",
    "choose_base",
    "dockerfile_of",
    "ensure_image",
    "find_base",
    "image_id",
    "make_base",
    "variable_of",
]
