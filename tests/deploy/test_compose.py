"""compose.yml is valid, pinned, and gives nobody more than is needed."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.deploy.files import DEPLOY, compose
from tests.parts.tools import ROOT

SCHEMA = Path(__file__).with_name("compose-spec.schema.json")
"""The Compose Specification's own schema (Apache-2.0, as in compose-go 2.16.2)."""
SERVICES: dict[str, Any] = compose()["services"]
EACH = pytest.mark.parametrize("name", sorted(SERVICES))
WRITES_ITS_ROOT = {"kafka", "influxdb"}
"""Images whose start scripts write into themselves."""
MAY_BE_REACHED = {"mosquitto", "dispatch-1", "dispatch-2", "prometheus", "grafana"}


def test_it_is_a_compose_file() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(compose())


def test_the_schema_would_see_a_mistake() -> None:
    document = compose()
    document["services"]["kafka"]["helthcheck"] = {}
    with pytest.raises(jsonschema.ValidationError, match="helthcheck"):
        jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(
            document
        )


@EACH
def test_images_are_pinned(name: str) -> None:
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), SERVICES[name]["image"]


@EACH
def test_rights_are_few(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service["user"].startswith(("0", "root"))
    assert service.get("read_only", False) is (name not in WRITES_ITS_ROOT)
    assert "privileged" not in service
    assert not any("docker.sock" in volume for volume in service.get("volumes", []))


@EACH
def test_limits_and_health(name: str) -> None:
    service = SERVICES[name]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    # Docker Compose refuses a file that has limits in both places, which its schema allows.
    assert not {"pids_limit", "mem_limit", "cpus"} & set(service)
    assert ("healthcheck" in service) is (service["restart"] != "no")


@EACH
def test_only_what_must_be_is_reached_and_on_loopback(name: str) -> None:
    service = SERVICES[name]
    assert bool(service.get("ports")) is (name in MAY_BE_REACHED)
    for port in service.get("ports", []):
        assert re.match(r"(127\.0\.0\.1|\$\{GRIDWARDEN_MQTT_BIND:-127\.0\.0\.1\}):", port)
    assert (set(service["networks"]) == {"inner"}) is (name not in MAY_BE_REACHED)


def test_bridges_keep_their_names_and_workers_theirs() -> None:
    for name, service in SERVICES.items():
        if service.get("command", [""])[0] == "bridge":
            assert service["hostname"] == name
        if service.get("command", [""])[0] == "worker":
            assert service["environment"]["GRIDWARDEN_WORKER__INSTANCE"] == name


def test_the_inner_network_leads_nowhere() -> None:
    assert compose()["networks"]["inner"] == {"internal": True}


@EACH
def test_no_secret_stands_in_the_environment(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if re.search("PASSWORD|TOKEN|SECRET|KEY", key):
            assert str(value).startswith("/run/secrets/"), key


def test_secrets_are_files_that_the_script_makes(tmp_path: Path) -> None:
    folder = tmp_path / "compose"
    (folder / "secrets").mkdir(parents=True)
    script = DEPLOY / "compose" / "make_secrets.sh"
    (folder / script.name).write_text(script.read_text())
    for _ in range(2):
        subprocess.run(["sh", str(folder / script.name), "site.example"], check=True)
        made = {path.name: path.read_bytes() for path in (folder / "secrets").iterdir()}
    wanted = {one["file"].removeprefix("secrets/") for one in compose()["secrets"].values()}
    assert set(made) == wanted
    assert all(made.values())
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
    used = {name for service in SERVICES.values() for name in service.get("secrets", [])}
    assert used == set(compose()["secrets"])


@pytest.mark.parametrize(
    ("place", "said"),
    [("site.example", "DNS:site.example"), ("10.1.2.3", "IP Address:10.1.2.3"),
     ("fd00::7", "IP Address:FD00:0:0:0:0:0:0:7")],
)  # fmt: skip
def test_the_brokers_certificate_is_for_its_name_or_address(
    tmp_path: Path, place: str, said: str
) -> None:
    (tmp_path / "secrets").mkdir()
    script = DEPLOY / "compose" / "make_secrets.sh"
    (tmp_path / script.name).write_text(script.read_text())
    subprocess.run(["sh", str(tmp_path / script.name), place], check=True)
    told = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName",
         "-in", str(tmp_path / "secrets" / "broker_cert")],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert said in told
    assert "IP Address:127.0.0.1" in told


def test_files_that_are_mounted_are_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / "compose" / source).exists(), volume


def test_the_brokers_limits_are_those_of_the_shipped_configuration() -> None:
    kept = ("max_", "message_", "allow_", "persistence true", "autosave_", "listener")
    texts = [
        {line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith(kept)}
        for path in (DEPLOY / "mosquitto/gridwarden.conf", DEPLOY / "compose/mosquitto.conf")
    ]
    assert texts[0] == texts[1]


def test_the_image_is_built_from_what_is_there() -> None:
    text = (DEPLOY / "container/Dockerfile").read_text(encoding="utf-8")
    ignored = (DEPLOY / "container/Dockerfile.dockerignore").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        for source in line.split():
            assert (ROOT / source).exists(), source
            assert f"!{source.rstrip('/')}" in ignored.splitlines(), source
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert all(re.search(r":\d+\.\d+\.\d+", one) for one in re.findall(r"^FROM (\S+)", text, re.M))
