"""The project's Invoke tasks: those of the toolkit. `invoke --list` shows them."""

from harness.invoke_tasks import namespace

__all__ = ["namespace"]
