"""All of the Docker SDK that ``daemon`` needs. It takes a quarter of a second to load: import it where it is used."""

from __future__ import annotations

from http.client import HTTPException

from docker import APIClient
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.errors import APIError, DockerException
from docker.tls import TLSConfig
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

__all__ = ["DEFAULT_DOCKER_API_VERSION", "NO_ANSWER", "APIClient", "APIError", "DockerException", "TLSConfig"]

NO_ANSWER = (DockerException, RequestException, HTTPError, HTTPException, OSError)
"""What says, unless it is an APIError, that the engine did not answer to the end."""
