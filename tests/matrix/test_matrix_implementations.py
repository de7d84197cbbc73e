"""Implementations of a matrix, as its file says; and the cells that come of them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ConfigError
from harness.matrix.cases import Case, Resources, Role
from harness.matrix.cells import NO_MOUNTS, expand, seed_of, with_digests, without_mounts
from harness.matrix.implementations import Matrix, Source, read_manifest, read_matrix

FILE = Path("/m/interop.toml")
A_URL = "a path or a URL (https, http, ssh, git, file)"
DIGEST = "sha256:" + "0" * 64


def matrix(text: str) -> Matrix:
    return read_matrix(FILE, tomllib.loads(text))


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        matrix(text)
    return [problem.removeprefix("/m/interop.toml: ") for problem in caught.value.problems]


FULL = f"""
name = "telehash"
tests = ["tests", "more"]
workers = ["node"]
drivers = ["node", "python"]
seed = 7
[implementations.node]
build = {{folder = "impl/node", target = "test", args = {{A = 1}}}}
command = ["node", "th-test.js"]
setup = "npm ci --ignore-scripts"
entry = "th-test -v"
provides = ["net-*"]
skip = {{channel-unreliable = "no datagrams"}}
env = {{A = "b", N = 3}}
resources = {{cpu = 0.5, memory = "256MiB", exclusive = ["token"]}}
version_cmd = ["node", "--version"]
contract = "th-test"
local = true
[implementations.python]
image = "name@{DIGEST}"
roles = ["driver"]
[implementations.go]
git = "https://example.org/go.git"
commit = "{"a" * 40}"
folder = "sub"
tests = {{skip = ["slow"]}}
[implementations.plain]
command = ["./run"]
"""


def test_every_key_is_read() -> None:
    """Paths are absolute and relative to the file, commands are words, numbers of variables are texts."""
    read = matrix(FULL)
    node, python, go, plain = read.implementations
    assert (read.name, read.seed, read.workers, read.drivers) == ("telehash", 7, ("node",), ("node", "python"))
    assert read.tests_folders == (Path("/m/tests"), Path("/m/more"))
    assert node.source == Source("build", Path("/m/impl/node"), target="test", args={"A": "1"})
    assert (node.command, node.folder, node.is_local) == (("node", "th-test.js"), Path("/m/impl/node"), True)
    assert node.setup == ("npm", "ci", "--ignore-scripts")
    assert node.entry == ("th-test", "-v")
    assert (node.provides, node.skip) == (("net-*",), {"channel-unreliable": "no datagrams"})
    assert node.env == {"A": "b", "N": "3"}
    assert node.resources == Resources(0.5, 256 * 2**20, ("token",))
    assert python.source == Source("image", image=f"name@{DIGEST}")
    assert python.roles == ("driver",)
    assert go.source == Source("git", Path("sub"), repository="https://example.org/go.git", commit="a" * 40)
    assert go.skip == {"slow": "skip says so"}
    assert plain.source == Source("command", Path("/m"))


def test_several_versions_are_several_implementations() -> None:
    """Each is told its own, when it is built and when it runs; the plain name stands for all of them."""
    read = matrix('drivers = ["n"]\n[implementations.n]\nbuild = "n"\nversions = ["1.0", "2.0"]')
    assert [(each.name, each.version) for each in read.implementations] == [("n@1.0", "1.0"), ("n@2.0", "2.0")]
    assert read.implementations[1].env == read.implementations[1].source.args == {"INTEROP_VERSION": "2.0"}
    assert read.drivers == ("n@1.0", "n@2.0")
    assert matrix('[implementations.n]\nbuild = "n"\nversions = ["1"]').implementations[0].name == "n"


WRONG = {
    "nothing": ("", ["implementations is empty; at least one table [implementations.NAME] was needed"]),
    "key": (
        'implementation = {}\n[implementations.a]\nbuild = "a"',
        ["key 'implementation' is not known; did you mean 'implementations'?"],
    ),
    "implementation's key": (
        '[implementations.a]\nbuild = "a"\ncomand = ["x"]',
        ["[implementations.a]: key 'comand' is not known; did you mean 'command'?"],
    ),
    "no source": (
        "[implementations.a]\nentry = ['x']",
        ["[implementations.a]: has none of build, image, git and command; one was needed"],
    ),
    "two sources": (
        f'[implementations.a]\nbuild = "a"\nimage = "i@{DIGEST}"',
        ["[implementations.a]: has build and image; one of build, image, git was needed, or none"],
    ),
    "image by name": (
        '[implementations.a]\nimage = "node:20"',
        ["[implementations.a]: image is 'node:20', NAME@sha256:DIGEST or an image id (sha256:...) was needed"],
    ),
    "branch": (
        '[implementations.a]\ngit = "https://example.org/a"\ncommit = "main"',
        ["[implementations.a]: commit is 'main'; the 40 hexadecimal digits of a commit were needed"],
    ),
    "no commit": (
        '[implementations.a]\ngit = "https://example.org/a"',
        ["[implementations.a]: commit is missing; the 40 hexadecimal digits of a commit were needed"],
    ),
    "url": (
        f'[implementations.a]\ngit = "ext::sh"\ncommit = "{"a" * 40}"',
        [f"[implementations.a]: git is 'ext::sh', {A_URL} of a repository was needed"],
    ),
    "folder outside": (
        f'[implementations.a]\ngit = "https://example.org/a"\ncommit = "{"a" * 40}"\nfolder = "../x"',
        ["[implementations.a]: folder is '../x', a folder within the repository was needed"],
    ),
    "commit of a build": (
        '[implementations.a]\nbuild = "a"\ncommit = "x"',
        ["[implementations.a]: commit goes with git, and this has build"],
    ),
    "contract": (
        '[implementations.a]\nbuild = "a"\ncontract = "th-tst"',
        [
            (
                "[implementations.a]: contract is 'th-tst', one of th-test, exit-code, testcase was needed; "
                "did you mean 'th-test'?"
            )
        ],
    ),
    "worker": (
        'workers = ["b"]\n[implementations.a1]\nbuild = "a"',
        ["workers has 'b', which is no implementation"],
    ),
    "near worker": (
        'workers = ["nodes"]\n[implementations.node]\nbuild = "a"',
        ["workers has 'nodes', which is no implementation; did you mean 'node'?"],
    ),
    "worker's role": (
        'workers = ["a"]\n[implementations.a]\nbuild = "a"\nroles = ["driver"]',
        ["workers has 'a', whose roles are driver; worker was needed among them"],
    ),
    "name": (
        '[implementations."a/b"]\nbuild = "a"',
        ["[implementations.a/b]: is no name; a letter or digit, then letters, digits and any of _.- were needed"],
    ),
    "case": (
        '[implementations.a]\nbuild = "a"\n[implementations.A]\nbuild = "a"',
        ["implementations 'a' and 'A' differ in case only, which paths may not"],
    ),
    "all": (
        'seed = -1\n[implementations.a]\nbuild = 3\nenv = {A = []}\nroles = "x y"\nresources = {cpu = "much"}',
        [
            "[implementations.a]: build is 3, a folder, or a table {folder, target, args} was needed",
            "[implementations.a]: env.A is [], a text was needed",
            "[implementations.a].resources: cpu is 'much', a number from 0 to 1024 was needed",
            "seed is -1, a whole number from 0 on was needed",
        ],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_together(name: str) -> None:
    """Each with its table and key, the value found and what was needed."""
    text, sentences = WRONG[name]
    assert problems(text) == sentences


def test_an_old_manifest_is_a_matrix_of_the_current_folder() -> None:
    """The worker is what is developed here; it and all others are drivers; a commit may be missing."""
    data = {"go": {"repo": "git://example.org/go.git"}, "node": {"repo": "git@example.org:a/b.git"}}
    read = read_manifest(Path("/p/tests/_implementations.json"), data, Path("/p/tests"), Path("/p"))
    assert [each.name for each in read.implementations] == ["local", "go", "node"]
    assert read.implementations[0].source == Source("build", Path("/p"))
    assert read.implementations[0].is_local
    assert read.implementations[1].source == Source("git", Path(), repository="git://example.org/go.git")
    cells = expand(read, [Case("t")])
    assert [cell.id for cell in cells] == ["t/local/local", "t/local/go", "t/local/node"]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({}, "has no implementation; {NAME: {'repo': URL}} was needed"),
        ({"go": "x"}, "go: is 'x', an object with the URL of its repository was needed: {'repo': URL}"),
        ({"go": {}}, "go: is {}, an object with the URL of its repository was needed: {'repo': URL}"),
        (
            {"a b": {"repo": "a/b"}},
            "a b: is no name; a letter or digit, then letters, digits and any of _.- were needed",
        ),
    ],
)
def test_a_wrong_manifest_is_told(data: dict[str, Any], sentence: str) -> None:
    """With the file, the name and what was needed."""
    with pytest.raises(ConfigError) as caught:
        read_manifest(Path("/p/m.json"), data, Path("/p"))
    assert caught.value.problems == (f"/p/m.json: {sentence}",)


def test_cells_are_every_test_with_every_worker_driver_and_parameter() -> None:
    """In that order, with ids that are paths."""
    read = matrix(FULL)
    case = Case("net-link", timeout=3.0, params={"size": ("1", "2"), "tls": ("on",)})
    cells = expand(read, [case])
    assert [cell.id for cell in cells] == [
        "net-link/node/node/size=1,tls=on",
        "net-link/node/node/size=2,tls=on",
        "net-link/node/python/size=1,tls=on",
        "net-link/node/python/size=2,tls=on",
    ]
    assert cells[0].params == {"size": "1", "tls": "on"}
    assert (cells[0].timeout, cells[0].seed) == (3.0, seed_of(7, cells[0].id))
    assert len({cell.seed for cell in cells}) == 4
    assert cells[0].resources == Resources(0.5, 2 * 256 * 2**20, ("token",))
    assert not any(cell.skipped for cell in cells)


def test_who_takes_no_part_says_why() -> None:
    """By its own list, by what it provides, or by the test's; a role that it cannot take is no cell at all."""
    read = matrix(FULL.replace('workers = ["node"]\ndrivers = ["node", "python"]\n', ""))
    cases = [Case("channel-unreliable"), Case("slow"), Case("net-1", skip={"pl*": "not yet"})]
    reasons = {cell.id: cell.skipped for cell in expand(read, cases)}
    assert reasons["channel-unreliable/node/go"] == "node: no datagrams"
    assert reasons["slow/go/plain"] == "go: skip says so"
    assert reasons["slow/plain/node"] == "node does not provide slow"
    assert reasons["net-1/go/plain"] == "net-1: not yet"
    assert reasons["net-1/go/python"] == ""
    assert "net-1/python/go" not in reasons


def test_a_digest_changes_with_all_that_a_cell_is_made_of() -> None:
    """And with nothing else: only then can a cell be left out that was run before."""
    text = '[implementations.a]\ncommand = ["a"]\n[implementations.b]\ncommand = ["b"]\n'

    def digests(text: str = text, digest: str = "1", **images: str) -> dict[str, str]:
        read, cases = matrix(text), [Case("t", digest=digest)]
        return {cell.id: cell.digest for cell in with_digests(expand(read, cases), cases, read, images)}

    def changed(other: dict[str, str]) -> list[str]:
        return [cell for cell, digest in digests().items() if other[cell] != digest]

    everything = ["t/a/a", "t/a/b", "t/b/a", "t/b/b"]
    with_a = ["t/a/a", "t/a/b", "t/b/a"]
    assert changed(digests()) == []
    assert changed(digests(digest="2")) == everything
    assert changed(digests(a="sha256:1")) == with_a
    assert changed(digests(text.replace('["a"]', '["a", "-v"]'))) == with_a
    assert changed(digests(text.replace('["a"]', '["a"]\nenv = {A = "b"}'))) == with_a
    assert changed(digests(f"seed = 3\n{text}")) == everything
    assert changed(digests(text.replace('["a"]', '["a"]\nversion_cmd = ["v"]'))) == []


def test_tests_that_name_shared_need_it_at_that_path() -> None:
    """Where there are no mounts, a test whose text or command names /shared must not be run; any other is."""
    made = matrix("[implementations.a]\ncommand = ['a']")
    cases = [
        Case("text", description="It writes `/shared/id.json`."),
        Case("command", roles=(Role("proxy", command=("cat", "/shared")), Role("worker"), Role("driver"))),
        Case("other", description="See /shared-secrets, a/shared and INTEROP_SHARED."),
        Case("skipped", description="/shared", skip={"a": "not yet"}),
    ]
    cells = expand(made, cases)
    assert not any(cell.skipped for cell in cells[:3])
    assert [cell.skipped for cell in without_mounts(cells, cases)] == [NO_MOUNTS, NO_MOUNTS, "", "skipped: not yet"]
