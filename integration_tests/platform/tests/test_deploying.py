"""Versions come, change places, and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration_tests.platform.tests.suite import FLAT, PRICES, Version

if TYPE_CHECKING:
    from integration_tests.platform.tests.suite import Deployer, Model, Platform

CANNOT_BE_LOADED = {
    "missing": ("nowhere.onnx", "there is no model 'nowhere.onnx'"),
    "corrupt": ("corrupt.onnx", "Protobuf parsing failed"),
    "newer-ir": ("newer-ir.onnx", "Unsupported model IR version: 99"),
    "newer-opset": ("newer-opset.onnx", "Opset 999 is under development"),
}
BAD_FILES: dict[str, object] = {
    "missing": None,
    "empty": "",
    "path": "../price-1.onnx",
    "hidden": ".onnx",
    "kind": "price-1.py",
    "list": [],
}
BAD_OPTIONS: dict[str, tuple[object, str]] = {
    "unknown": ({"slow": 1}, "options must be an object with crash_at"),
    "list": ([], "options must be an object with crash_at"),
    "negative": ({"seconds": -1}, "options.seconds is -1, a number from 0 to 60 was needed"),
    "text": ({"load_seconds": "1"}, "options.load_seconds is '1', a number"),
    "truth": ({"seconds": True}, "options.seconds is True, a number"),
    "fraction": ({"crash_at": 1.5}, "options.crash_at is 1.5, a number"),
}


def test_a_deployed_model_predicts(model: Model, deployer: Deployer) -> None:
    """A deployed version must be a model server of its own that predicts what its model says."""
    version = model.deploy("price-2.onnx")
    assert deployer.running[version.instance] == "running"
    assert model.says() == (PRICES["price-2.onnx"], 1)


@pytest.mark.parametrize(("file", "says"), CANNOT_BE_LOADED.values(), ids=CANNOT_BE_LOADED.keys())
def test_a_model_that_cannot_be_loaded_is_told(model: Model, deployer: Deployer, file: str, says: str) -> None:
    """A deployment whose model cannot be loaded must be 422 with the reason, which stays, and leave no server."""
    before = set(deployer.running)
    said = model.try_to_deploy(file)
    assert (said.status, says in said.error) == (422, True), said.error
    version = Version(model.platform, said.body["version"]["id"])
    told = model.platform.get(version.path)
    assert (told["state"], says in told["reason"]) == ("failed", True)
    assert says in version.log()
    assert set(deployer.running) == before
    assert model.live is None


def test_a_failed_version_is_neither_invoked_nor_promoted(model: Model) -> None:
    """A version that failed must be 409 with the reason, whatever is asked of it, and can be deleted."""
    version = Version(model.platform, model.try_to_deploy("nowhere.onnx").body["version"]["id"])
    for what, document in (("promote", None), ("invoke", {"inputs": [FLAT]}), ("scale", {"replicas": 0})):
        said = model.platform.ask("POST", f"{version.path}/{what}", document)
        assert (said.status, "there is no model" in said.error) == (409, True), said
    version.delete()
    assert model.platform.get(model.path)["versions"] == []


@pytest.mark.parametrize("file", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_file_that_is_none_is_refused(model: Model, file: object) -> None:
    """A file that is no name of a model must be 400 with the field, and make no version."""
    said = model.platform.ask("POST", f"{model.path}/versions", {} if file is None else {"file": file})
    assert said.told == (400, "file must be the name of an .onnx file")
    assert model.platform.get(model.path)["versions"] == []


@pytest.mark.parametrize(("options", "says"), BAD_OPTIONS.values(), ids=BAD_OPTIONS.keys())
def test_an_option_that_means_nothing_is_named(model: Model, options: object, says: str) -> None:
    """An option that is unknown or wrong must be 400 with its name, and make no version."""
    document = {"file": "price-1.onnx", "options": options}
    said = model.platform.ask("POST", f"{model.path}/versions", document)
    assert (said.status, said.error.startswith(says)) == (400, True), said.error
    assert model.platform.get(model.path)["versions"] == []


def test_the_second_version_waits_to_be_promoted(model: Model) -> None:
    """The first version must be live at once, another one when it is promoted, and the first again likewise."""
    first, second = model.deploy("price-1.onnx"), model.deploy("price-2.onnx")
    assert model.says() == (PRICES["price-1.onnx"], 1)
    assert second.act("promote")["live"] == 2
    assert model.says() == (PRICES["price-2.onnx"], 2)
    assert first.invoke().body == {"outputs": [PRICES["price-1.onnx"]], "version": 1}
    first.act("promote")
    assert model.says() == (PRICES["price-1.onnx"], 1)


def test_a_deleted_version_is_free(model: Model, deployer: Deployer) -> None:
    """Once its deletion is answered, the server of a version must be gone, and the model without a live version."""
    version = model.deploy()
    instance = version.instance
    assert instance in deployer.running
    version.delete()
    assert instance not in deployer.running
    assert model.platform.ask("GET", version.path).told == (404, "there is no such version")
    assert model.platform.ask("DELETE", version.path).status == 404
    assert model.live is None
    assert model.invoke([FLAT]).told == (409, "the model has no live version")


def test_a_deleted_application_is_free(platform: Platform, ns: str, deployer: Deployer) -> None:
    """With an application its models, versions and servers must go, and count no more."""
    used = platform.get("/api/quota")["used"]
    application = platform.made("/api/applications", {"name": ns})["id"]
    try:
        instances = set()
        for name in ("a", "b"):
            made = platform.made(f"/api/applications/{application}/models", {"name": name})
            made = platform.made(f"/api/models/{made['id']}/versions", {"file": "price-1.onnx"})
            instances.add(made["instance"])
        assert instances <= set(deployer.running)
        assert platform.get("/api/quota")["used"] == used + 2
    finally:
        platform.done("DELETE", f"/api/applications/{application}")
    assert not instances & set(deployer.running)
    assert platform.get("/api/quota")["used"] == used


def test_a_model_is_deleted_once(model: Model) -> None:
    """A model that is gone must be 404."""
    model.platform.done("DELETE", model.path)
    assert model.platform.ask("DELETE", model.path).told == (404, "there is no such model")


def test_a_quota_is_what_may_be_had(small: Model) -> None:
    """As many deployments as the quota says must be had, one more be 429, and again one when one is deleted."""
    first = small.deploy()
    second = small.deploy()
    second.scale(0)  # what is asleep may wake at any time, so it counts
    said = small.try_to_deploy()
    assert said.told == (429, "the quota of 2 deployments is used up; delete one")
    assert small.platform.get("/api/quota") == {"deployments": 2, "used": 2}
    assert len(small.platform.get(small.path)["versions"]) == 2
    first.delete()
    assert small.try_to_deploy().status == 201


def test_a_failed_deployment_takes_nothing_of_the_quota(small: Model) -> None:
    """Deployments that failed must leave the quota to those that do not."""
    for _ in range(3):
        assert small.try_to_deploy("nowhere.onnx").status == 422
    assert small.platform.get("/api/quota") == {"deployments": 2, "used": 0}


def test_a_quota_holds_for_those_that_come_together(small: Model) -> None:
    """Of six deployments at the same time as many must come about as the quota says."""
    said = small.platform.together(6, lambda _: small.try_to_deploy())
    assert sorted(one.status for one in said) == [201, 201, 429, 429, 429, 429]
    assert small.platform.get("/api/quota")["used"] == 2


def test_without_a_model_server_a_version_is_asleep(model: Model, deployer: Deployer) -> None:
    """Scaled to zero, a version must have no server, and none to restart, and keep what is known of it."""
    version = model.deploy()
    instance = version.instance
    for _ in range(2):
        assert version.scale(0)["state"] == "asleep"
    assert instance not in deployer.running
    assert (version.state, model.live) == ("asleep", 1)
    assert "pynode: serves price-1.onnx" in version.log()
    said = model.platform.ask("POST", f"{version.path}/restart")
    assert said.told == (409, "version 1 is asleep, and has no model server")


def test_a_sleeping_version_is_woken_by_who_invokes_it(model: Model, deployer: Deployer) -> None:
    """The next invocation of a version that is asleep must be answered as ever, by a server that stays."""
    version = model.deploy()
    version.scale(0)
    assert model.says() == (PRICES["price-1.onnx"], 1)
    assert version.state == "running"
    assert deployer.running[version.instance] == "running"


def test_those_who_wake_a_version_together_get_one_server(model: Model, deployer: Deployer) -> None:
    """Many invocations at once of a version that is asleep must all be answered, by one server."""
    version = model.deploy()
    version.scale(0)
    before = set(deployer.running)
    said = model.platform.together(10, lambda _: model.invoke([FLAT]))
    assert [one.status for one in said] == [200] * 10
    assert set(deployer.running) - before == {version.instance}


def test_a_version_is_woken_by_its_scale(model: Model, deployer: Deployer) -> None:
    """Scaled to one again, a version must have a server when that is answered, and another time nothing changes."""
    version = model.deploy()
    version.scale(0)
    instance = version.scale(1)["instance"]
    assert deployer.running[instance] == "running"
    assert version.scale(1)["instance"] == instance


@pytest.mark.parametrize("replicas", [2, -1, "1", True, None, 0.5])
def test_a_scale_that_is_none_is_named(own: Version, replicas: object) -> None:
    """Other numbers of servers than 0 and 1 must be 400 with the field."""
    said = own.platform.ask("POST", f"{own.path}/scale", {"replicas": replicas})
    assert said.told == (400, "replicas must be 0 or 1")
    assert own.state == "running"
