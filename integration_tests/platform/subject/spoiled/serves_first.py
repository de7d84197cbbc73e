"""Starts a model server before it asks the database whether it may."""

import secrets
import sys

from django.contrib.auth.models import User
from django.http import HttpRequest
from serving import api, deployer
from serving.__main__ import main

_right = api._user


def _user(request: HttpRequest) -> User:
    if request.method == "POST" and request.path.endswith("/versions"):
        deployer.create(f"early-{secrets.token_hex(3)}", "price-1.onnx", {})
    return _right(request)


api._user = _user

if __name__ == "__main__":
    sys.exit(main())
