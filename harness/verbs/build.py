"""The images of a stack, built without starting anything."""

from __future__ import annotations

from harness.runs.building import build

__all__ = ["build"]
