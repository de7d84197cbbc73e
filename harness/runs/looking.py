"""The images of a tree of stacks as they stand, looked at without an environment: nothing is built or named."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.engine.compose.plan import NAME
from harness.engine.compose.standing import Made, standings_of
from harness.engine.identity import Identity
from harness.engine.layout import dry_layout
from harness.images.lock import FILE
from harness.images.records import Records
from harness.runs.images import images_of
from harness.runs.known import checkout_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from harness.docker_sdk import APIClient
    from harness.engine import StackPlan
    from harness.engine.compose.standing import Standing
    from harness.runs.choice import Choice
    from harness.stack import Stack, Tree


class Looking:
    """A look at the images of a tree, stack after stack from the lowest; nothing is done.

    Args:
        choice: what was asked for, and the engine.
        tree: the stacks.
        client: of the engine.
    """

    def __init__(self, choice: Choice, tree: Tree, client: APIClient) -> None:
        self._choice, self._tree, self._client = choice, tree, client
        records = Records(checkout_of(choice.settings), choice.settings.environ)
        self._made = Made(records, lambda: client, choice.settings.root / FILE)
        self.built: set[str] = set()
        """The names by which Dockerfiles may mean images that are built here."""

    def at(self, stack: Stack, wanted: Collection[str] | None = None) -> tuple[StackPlan, dict[str, Standing]]:
        """Return what a stack is, and how the images of its services stand that are built, or of ``wanted`` of them."""
        choice, environ = self._choice, self._choice.settings.environ
        layout = dry_layout(self._tree, environ, {}, NAME, local=choice.local)
        identity = Identity(checkout_of(choice.settings), "dry", {})
        images = images_of(self._tree, stack, environ, self._client)
        plan = choice.engine.plan(self._tree, stack.name, layout, identity, images)
        containers = plan.containers
        names = tuple(name for name in containers.build if wanted is None or name in wanted) if containers else ()
        if not containers or not names:
            return plan, {}
        asked = replace(containers, build=names)
        self.built |= {name for recipe in containers.recipes.values() for name in recipe.stands}
        return plan, standings_of(stack.name, asked, self._client, {**environ, **containers.env}, self._made)
