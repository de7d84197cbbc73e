"""All of the Docker SDK that is used here. It takes a quarter of a second to load: import it where it is used.

It is loaded here only, and as a whole: a thread loads it ahead, and its modules import one another in circles, which a
second thread that enters by another of them finds half made.
"""

from __future__ import annotations

from http.client import HTTPException

from docker import APIClient
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.tls import TLSConfig
from docker.types import LogConfig
from docker.utils import parse_repository_tag
from docker.utils.build import tar
from docker.utils.fnmatch import translate
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

__all__ = [
    "DEFAULT_DOCKER_API_VERSION",
    "NO_ANSWER",
    "APIClient",
    "APIError",
    "DockerException",
    "ImageNotFound",
    "LogConfig",
    "NotFound",
    "TLSConfig",
    "parse_repository_tag",
    "tar",
    "translate",
]

NO_ANSWER = (DockerException, RequestException, HTTPError, HTTPException, OSError)
"""What says, unless it is an APIError, that the engine did not answer to the end."""
