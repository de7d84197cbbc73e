"""The base image, made from Debian packages, for machines that reach a package mirror but no image registry.

The host's certificates are trusted inside, so that builds work where a proxy inspects TLS.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import ssl
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import procs
from harness.artifacts import last_lines
from harness.clock import Deadline, poll
from harness.errors import ConfigError
from harness.images import own
from harness.images.names import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.docker_sdk import APIClient

NAME = "harness-base"
LABEL = "harness.base"
PACKAGES = ("ca-certificates",)
RECIPE = 1
"""Counted up when the steps below change, so that images of an older recipe are not taken for this one's."""

BUDGET = 900.0
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_TAIL = 15
_PIECE = 1 << 20
_REMOVAL = 5.0
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_WORD = re.compile(r"[a-z][a-z0-9.\-]*")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Paths as in the manual of dpkg, "--path-exclude"; what is installed later stays small too. Licences are kept.
_EXCLUDED = ("usr/share/doc/*", "usr/share/man/*", "usr/share/info/*", "usr/share/locale/*", "usr/share/lintian/*")
_KEPT = "usr/share/doc/*/copyright"
_FILES = {
    "etc/dpkg/dpkg.cfg.d/small": "".join(
        [*(f"path-exclude /{path}\n" for path in _EXCLUDED), f"path-include /{_KEPT}\n"]
    ),
    "etc/apt/apt.conf.d/small": """Acquire::Languages "none";
Acquire::GzipIndexes "true";
APT::Keep-Downloaded-Packages "0";
""",
    # Nothing may start a service while packages are installed (invoke-rc.d(8)).
    "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
}
_RUBBISH = (
    "var/lib/apt/lists/*",
    "var/cache/apt/*.bin",
    "var/cache/apt/archives/*.deb",
    "var/cache/debconf/*-old",
    "var/log/*.log",
    "var/log/apt/*",
    "var/lib/dpkg/*-old",
    "dev/*",
)
_CHANGES = (
    'CMD ["bash"]',
    f"ENV PATH={_PATH}",
    # Programs that carry a list of certificates of their own look at these.
    f"ENV SSL_CERT_FILE={BUNDLE}",
    f"ENV PIP_CERT={BUNDLE}",
    f"ENV REQUESTS_CA_BUNDLE={BUNDLE}",
)


@dataclass(frozen=True)
class Recipe:
    """What a base image is made of.

    Attributes:
        suite: Debian's name of the release.
        packages: what is in it beside the essential packages.
        certificates: the host's certificates, PEM.
    """

    suite: str
    packages: tuple[str, ...]
    certificates: tuple[str, ...]

    @property
    def digest(self) -> str:
        """A short hash of all of it and of the steps that make it."""
        digest = hashlib.sha256(f"{RECIPE} {self.suite} {sorted(self.packages)}".encode())
        for fingerprint in sorted(_fingerprints(self.certificates)):
            digest.update(fingerprint.encode())
        return digest.hexdigest()[:12]

    @property
    def tag(self) -> str:
        """The name of its image."""
        return f"{NAME}:{self.digest}"


def read_certificates(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the certificates that this machine trusts, PEM: those of ``SSL_CERT_FILE``, else of Debian's bundle.

    Raises:
        ConfigError: ``SSL_CERT_FILE`` is set and cannot be read.
    """
    path = Path(environ.get("SSL_CERT_FILE") or BUNDLE)
    try:
        return tuple(_PEM.findall(path.read_text(encoding="ascii", errors="replace")))
    except OSError as error:
        if not environ.get("SSL_CERT_FILE"):
            return ()
        raise ConfigError(f"SSL_CERT_FILE {path} cannot be read: {error.strerror}") from error


def _fingerprints(certificates: Sequence[str]) -> dict[str, str]:
    fingerprints = {}
    for pem in certificates:
        with contextlib.suppress(ValueError):  # damaged: nobody can trust it
            fingerprints[hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()] = pem
    return fingerprints


def only_in(wanted: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Return ``{fingerprint: PEM}`` of the certificates of ``wanted`` that are not among ``known``."""
    excluded = _fingerprints(known)
    return {fingerprint: pem for fingerprint, pem in _fingerprints(wanted).items() if fingerprint not in excluded}


def refusals() -> tuple[type[Exception], ...]:
    """Return what the SDK raises when an engine refuses or does not answer."""
    from requests.exceptions import RequestException  # noqa: PLC0415

    from harness.docker_sdk import DockerException  # noqa: PLC0415 - a quarter of a second, only when it is used

    return DockerException, RequestException


def find_base(client: APIClient) -> str | None:
    """Return the tag of the newest base image on the engine, as the engine writes it, or None."""
    created = {
        str(tag): int(image["Created"])
        for image in client.images(name=NAME)
        for tag in image.get("RepoTags") or ()
        if plain(tag).startswith(f"{NAME}:")
    }
    return min(created, key=lambda tag: (-created[tag], tag), default=None)


def make_base(
    client: APIClient,
    say: Callable[[str], None],
    *,
    environ: Mapping[str, str],
    suite: str = "bookworm",
    packages: Sequence[str] = PACKAGES,
    budget: float = BUDGET,
) -> str:
    """Make the base image by debootstrap and give it to the engine; one that is there already is left alone.

    Args:
        client: of the engine.
        say: takes lines for people.
        environ: names the bundle of certificates and, for debootstrap, proxies.
        suite: Debian's name of the release.
        packages: what is in it beside the essential packages.
        budget: seconds for all of it.

    Returns:
        Its tag.

    Raises:
        ConfigError: this machine or user cannot make one, or debootstrap failed.
    """
    if not _WORD.fullmatch(suite):
        raise ConfigError(f"Suite {suite!r} is no name of a Debian release, such as bookworm")
    recipe = Recipe(suite, tuple(packages), read_certificates(environ))
    if client.images(name=recipe.tag):
        say(f"{recipe.tag} exists already ({suite}, {len(recipe.certificates)} certificates)")
        return recipe.tag
    check_host(os.geteuid(), shutil.which("debootstrap", path=environ.get("PATH")))
    deadline = Deadline.after(budget)
    say(f"{recipe.tag} is made from the packages of Debian {suite}; this takes about a minute")
    with _scratch(say) as folder:
        root = folder / "root"
        _bootstrap(root, recipe, environ, deadline)
        added = _trust(root, recipe, deadline)
        _tidy(root)
        archive = folder / "root.tar"
        _call(["tar", "--numeric-owner", "-C", str(root), "-cf", str(archive), "."], "tar", environ, deadline)
        _load(client, archive, recipe, deadline)
    own.note(str(client.inspect_image(recipe.tag)["Id"]), environ)  # type: ignore[no-untyped-call]
    say(f"{recipe.tag} made in {deadline.elapsed():.0f} s, {added} certificates of this machine added")
    return recipe.tag


def check_host(user: int, debootstrap: str | None) -> None:
    """Raise ConfigError unless ``user`` is root and the program debootstrap was found."""
    if debootstrap is None:
        raise ConfigError(
            "A base image needs the program debootstrap, which is not in PATH", hint="apt-get install debootstrap"
        )
    if user != 0:
        raise ConfigError(
            f"A base image is made by root only (debootstrap makes device files); this is user {user}",
            hint="run it as root once, or set HARNESS_BASE_IMAGE to an image that the engine has",
        )


def _bootstrap(root: Path, recipe: Recipe, environ: Mapping[str, str], deadline: Deadline) -> None:
    argv = ["debootstrap", "--variant=minbase", f"--include={','.join(recipe.packages)}", recipe.suite, str(root)]
    _call(argv, f"debootstrap of {recipe.suite}", environ, deadline, log=root / "debootstrap" / "debootstrap.log")


def _trust(root: Path, recipe: Recipe, deadline: Deadline) -> int:
    """Add the host's own certificates where Debian's packages, Java's among them, look for them."""
    theirs = _PEM.findall((root / BUNDLE.lstrip("/")).read_text(encoding="ascii", errors="replace"))
    added = only_in(recipe.certificates, theirs)
    folder = root / "usr/local/share/ca-certificates"
    folder.mkdir(parents=True, exist_ok=True)
    for fingerprint, pem in added.items():
        (folder / f"host-{fingerprint[:16]}.crt").write_text(f"{pem}\n", encoding="ascii")
    _call(["chroot", str(root), "update-ca-certificates"], "update-ca-certificates", {"PATH": _PATH}, deadline)
    return len(added)


def _tidy(root: Path) -> None:
    """Remove what an image does not need, and see to it that later packages do not bring it either."""
    kept = set(root.glob(_KEPT))
    for pattern in (*_EXCLUDED, *_RUBBISH):
        for top in root.glob(pattern):
            below = top.rglob("*") if top.is_dir() and not top.is_symlink() else (top,)
            for path in list(below):
                if path not in kept and (path.is_symlink() or not path.is_dir()):
                    path.unlink()
    for name, text in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
        path.chmod(0o755 if text.startswith("#!") else 0o644)


def _load(client: APIClient, archive: Path, recipe: Recipe, deadline: Deadline) -> None:
    changes = [*_CHANGES, f"LABEL {LABEL}={recipe.digest}", f"LABEL {LABEL}.suite={recipe.suite}"]
    before, client.timeout = client.timeout, max(1, int(deadline.remaining()))
    try:
        with archive.open("rb") as file:
            # An iterator: of a file, requests sends the length as well, and the engine then fails to read the chunks.
            pieces: Any = iter(lambda: file.read(_PIECE), b"")
            # The tag in the name: Podman 4.3 does not heed it beside that.
            answer = str(client.import_image_from_stream(pieces, recipe.tag, None, changes))
    except refusals() as error:
        raise ConfigError(f"{recipe.tag} was not taken by the engine", details=[str(error)]) from error
    finally:
        client.timeout = before
    if not client.images(name=recipe.tag):
        raise ConfigError(f"{recipe.tag} was not taken by the engine", details=answer.splitlines()[-_TAIL:])


def _call(
    argv: Sequence[str], step: str, environ: Mapping[str, str], deadline: Deadline, *, log: Path | None = None
) -> None:
    done = procs.run(argv, timeout=max(1.0, deadline.remaining()), env={**environ, "LC_ALL": "C"})
    if done.code == 0:
        return
    output = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    logged = last_lines(log, _TAIL) if log and log.is_file() else []
    raise ConfigError(f"Base image: {step} failed: {done.ending(deadline.budget)}", details=[*output[-_TAIL:], *logged])


@contextlib.contextmanager
def _scratch(say: Callable[[str], None]) -> Iterator[Path]:
    """Give a folder that is gone afterwards, also when TERM or HUP ends this process."""
    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, lambda n, _: sys.exit(128 + n)) for number in numbers}
    folder = Path(tempfile.mkdtemp(prefix="harness-base-")).resolve()
    try:
        yield folder
    finally:
        remove_tree(folder, say)
        for number, handler in before.items():
            signal.signal(number, handler)


def mounts_below(folder: Path, table: str) -> list[str]:
    """Return the mount points in ``table`` (proc_pid_mountinfo(5)) that are ``folder`` or below it, deepest first."""
    points = []
    for line in table.splitlines():
        point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), line.split(" ")[4])
        if Path(point).is_relative_to(folder):
            points.append(point)
    return sorted(points, key=len, reverse=True)


def remove_tree(folder: Path, say: Callable[[str], None]) -> None:
    """Remove ``folder``, but never what is mounted below it: that is unmounted first, or all of it is left."""
    table = Path("/proc/self/mountinfo")
    for point in mounts_below(folder, table.read_text(encoding="utf-8", errors="surrogateescape")):
        procs.run(["umount", point], timeout=30)
    mounted = mounts_below(folder, table.read_text(encoding="utf-8", errors="surrogateescape"))
    if mounted:
        say(f"{folder} is left: {mounted[0]} is mounted there; unmount it and remove the folder")
        return
    for _ in poll(Deadline.after(_REMOVAL)):  # children that were killed may still be ending
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
    else:
        say(f"{folder} could not be removed completely")
