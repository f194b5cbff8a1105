"""The manifests hold against Kubernetes' own schemas, and keep the house's rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.files import BASE, DEPLOY, manifests, of_kind, pods

VERSION = "1.33"
FOREIGN = {"ScaledObject", "TriggerAuthentication"}
"""Kinds of KEDA: Kubernetes has no schema of them, they are looked at here by hand."""

OBJECTS = [pytest.param(one, id=f"{path.name}-{one['kind']}-{one['metadata']['name']}")
           for path, one in manifests()]  # fmt: skip
PODS = [pytest.param(pod, id=name) for name, pod in pods()]


@pytest.mark.parametrize("one", OBJECTS)
def test_an_object_is_what_kubernetes_knows(one: dict[str, Any]) -> None:
    if one["kind"] not in FOREIGN:
        kubernetes_validate.validate(one, VERSION, strict=True)


def test_a_misspelt_key_would_be_seen() -> None:
    one = next(one for one in of_kind("StatefulSet"))
    one["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(one, VERSION, strict=True)


def test_every_file_is_among_the_resources() -> None:
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    assert set(kustomization["resources"]) == {
        path.name for path in BASE.glob("*.yaml") if path.name != "kustomization.yaml"
    }
    for generated in kustomization["configMapGenerator"]:
        assert all((BASE / name).exists() for name in generated["files"])


def test_an_overlay_patches_what_is_there() -> None:
    for path in (DEPLOY / "kubernetes/overlays").glob("*/kustomization.yaml"):
        overlay = yaml.safe_load(path.read_text())
        assert all((path.parent / base).is_dir() for base in overlay["resources"])
        for patch in overlay["patches"]:
            (one,) = [
                one
                for one in of_kind(patch["target"]["kind"])
                if one["metadata"]["name"] == patch["target"]["name"]
            ]
            for step in yaml.safe_load(patch["patch"]):
                value: Any = one
                for key in step["path"].strip("/").split("/"):
                    value = value[key]
                assert type(value) is type(step["value"])


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_has_no_more_rights_than_it_needs(pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert re.search(r":\d+\.\d+\.\d+$", container["image"])


@pytest.mark.parametrize("pod", PODS)
def test_what_is_mounted_exists(pod: dict[str, Any]) -> None:
    volumes = {volume["name"] for volume in pod["volumes"]} | {"data"}
    for container in pod["containers"]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container.get(name)
            ports = {port["name"] for port in container.get("ports", [])}
            assert (probe is None) is (not ports), name
            if probe is not None:
                assert (probe.get("tcpSocket") or probe["httpGet"])["port"] in ports


def test_liveness_asks_for_nothing_outside() -> None:
    """A store or broker that is away must not have pods killed."""
    for one in of_kind("Deployment", "StatefulSet"):
        (container,) = one["spec"]["template"]["spec"]["containers"]
        assert set(container["livenessProbe"]) >= {"tcpSocket"}
        assert container["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_every_workload_has_its_budget() -> None:
    budgets = {
        one["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]: one["spec"]
        for one in of_kind("PodDisruptionBudget")
    }
    assert set(budgets) == {one["metadata"]["name"] for one in of_kind("Deployment", "StatefulSet")}
    assert all(spec["maxUnavailable"] == 1 for spec in budgets.values())


def test_nobody_is_reached_but_as_said() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy")}
    assert policies["nothing-by-default"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    for name, spec in policies.items():
        for rule in spec.get("ingress", []) + spec.get("egress", []):
            assert rule.get("ports"), name
            assert rule.get("from") or rule.get("to"), name


def test_workers_never_outnumber_partitions() -> None:
    for path in (BASE, *Path(DEPLOY / "kubernetes/overlays").iterdir()):
        text = (path / "gridwarden.toml").read_text()
        partitions = int(re.search(r"^partitions = (\d+)$", text, re.MULTILINE)[1])  # type: ignore[index]
        assert _most_workers(path) <= partitions


def _most_workers(path: Path) -> int:
    (scaled,) = of_kind("ScaledObject")
    most: int = scaled["spec"]["maxReplicaCount"]
    overlay = yaml.safe_load((path / "kustomization.yaml").read_text())
    for patch in overlay.get("patches", []):
        for step in yaml.safe_load(patch["patch"]):
            if step["path"] == "/spec/maxReplicaCount":
                most = step["value"]
    return most


def test_bridges_and_workers_keep_their_names() -> None:
    """The broker keeps a session for a bridge's host name, Kafka partitions for a worker's."""
    named = {one["metadata"]["name"] for one in of_kind("StatefulSet")}
    assert {"bridge", "worker"} <= named
    services = {one["metadata"]["name"] for one in of_kind("Service")}
    assert {one["spec"]["serviceName"] for one in of_kind("StatefulSet")} <= services


def test_scaling_goes_by_the_consumers_lag() -> None:
    (scaled,) = of_kind("ScaledObject")
    (workers,) = [one for one in of_kind("StatefulSet") if one["metadata"]["name"] == "worker"]
    target = scaled["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "worker"}
    assert workers["spec"]["replicas"] == scaled["spec"]["minReplicaCount"]
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["type"] == "kafka"
    assert set(trigger["metadata"]) == {
        "bootstrapServers", "consumerGroup", "topic", "lagThreshold", "allowIdleConsumers",
    }  # fmt: skip
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    (login,) = of_kind("TriggerAuthentication")
    assert trigger["authenticationRef"]["name"] == login["metadata"]["name"]
