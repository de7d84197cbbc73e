"""The process of a deployer: ``python -m harness.deployer ADDRESS PORT FOLDER``, started by the keeper."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from harness.deployer.fleet import Fleet
from harness.deployer.server import Server
from harness.engine.local import TOKEN
from harness.errors import HarnessError
from harness.runs.deploying import ORDER, Order


def main(address: str, port: str, folder: str) -> int:
    """Serve until the environment ends, which ends this process."""
    try:
        order = Order.from_text(os.environ.pop(ORDER))
        fleet = Fleet(order, dict(os.environ), _say)
        token = secrets.token_urlsafe(32)
        write_token(Path(folder) / TOKEN, token)
        server = Server((address, int(port)), token, fleet, _say)
    except (HarnessError, OSError, KeyError) as error:
        print(f"deployer: {error}", flush=True)
        return error.exit_code if isinstance(error, HarnessError) else 1
    _say(f"serves at {address}:{port}")
    server.serve_forever()
    return 0


def write_token(path: Path, token: str) -> None:
    """Write a token where only this user can read it; one of an earlier life is replaced. Raises OSError."""
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(token)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
