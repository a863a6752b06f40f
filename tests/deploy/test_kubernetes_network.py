"""The network policies: which pod reaches which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.manifests import Manifest, workloads

REACHED = {
    ("api", "redis", 6379),
    ("worker", "redis", 6379),
    ("reconciler", "redis", 6379),
    ("api", "model-server", 8500),
    ("worker", "model-server", 8500),
}
FROM_OUTSIDE = {
    ("api", "http", "kennel/proxy=true"),
    ("api", "http", "kennel/monitoring=true"),
    ("model-server", "http", "kennel/monitoring=true"),
    ("redis", "redis", "kubernetes.io/metadata.name=keda"),
}
"""A pod, its port, and the label of the namespaces that reach it."""


@pytest.fixture
def policies(cpu: list[Manifest]) -> list[Manifest]:
    return [each["spec"] for each in cpu if each["kind"] == "NetworkPolicy"]


def test_pods_reach_whom_they_need_and_nobody_else(
    cpu: list[Manifest], policies: list[Manifest]
) -> None:
    pods = workloads(cpu)
    out = {
        (source, target, port)
        for source, pod in pods.items()
        for rule in rules(policies, pod, "egress")
        for target, other in pods.items()
        if names(rule["to"], other)
        for port in numbers(rule, other)
    }
    into = {
        (source, target, port)
        for target, pod in pods.items()
        for rule in rules(policies, pod, "ingress")
        for source, other in pods.items()
        if names(rule["from"], other)
        for port in numbers(rule, pod)
    }

    assert out == into == REACHED


def test_only_marked_namespaces_come_in(
    cpu: list[Manifest], policies: list[Manifest]
) -> None:
    found = {
        (name, rule["ports"][0]["port"], "=".join(label))
        for name, pod in workloads(cpu).items()
        for rule in rules(policies, pod, "ingress")
        for peer in rule["from"]
        if "namespaceSelector" in peer
        for label in peer["namespaceSelector"]["matchLabels"].items()
    }

    assert found == FROM_OUTSIDE


def test_what_no_policy_allows_is_denied(policies: list[Manifest]) -> None:
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies


def test_only_names_are_asked_outside(policies: list[Manifest]) -> None:
    outward = [
        (rule["ports"], peer)
        for policy in policies
        for rule in policy.get("egress", [])
        for peer in rule["to"]
        if "podSelector" not in peer
    ]

    ((ports, peer),) = outward
    assert {each["port"] for each in ports} == {53}
    assert peer["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "kube-system"
    }


def rules(
    policies: list[Manifest], pod: Manifest, way: str
) -> Iterator[dict[str, Any]]:
    for policy in policies:
        if selects(policy["podSelector"], pod):
            yield from policy.get(way, [])


def names(peers: list[dict[str, Any]], pod: Manifest) -> bool:
    return any(
        selects(peer["podSelector"], pod) for peer in peers if "podSelector" in peer
    )


def selects(selector: dict[str, Any], pod: Manifest) -> bool:
    labels = selector.get("matchLabels", {})
    return bool(labels.items() <= pod["metadata"]["labels"].items())


def numbers(rule: dict[str, Any], pod: Manifest) -> Iterator[int]:
    ports = pod["spec"]["containers"][0].get("ports", [])
    named = {each["name"]: each["containerPort"] for each in ports}
    for each in rule["ports"]:
        yield named.get(each["port"], each["port"])
