"""Receivers of notices, real ones, on the loopback interface."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
from receivers import Mailbox
from servers import Web

from harness.notices import sending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.notices.message import Message


@pytest.fixture
def in_process() -> Iterator[Callable[[str, Message], str]]:
    """What sends a message from this process; Apprise and what it loads have warnings that are none of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield sending.deliver


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """A mail server."""
    box = Mailbox()
    box.start()
    yield box
    box.stop()


@pytest.fixture
def hook() -> Iterator[Web]:
    """A receiver of webhooks."""
    with Web((200, b"ok")).running() as web:
        yield web
