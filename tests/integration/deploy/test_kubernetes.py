"""deploy/k8s renders, is valid, and fits the services that it runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest

from services.appserver.config import AppServerConfig
from services.events.config import EventsConfig
from services.provisioning.config import ProvisioningConfig
from services.proxy.config import ProxyConfig
from tandem.runtime.config import load, variable
from tests.support.installs import require
from tests.support.kubernetes import SECRETS, container, render, settings_of

ROOT: Final = Path(__file__).parents[3]
DEPLOY: Final = ROOT / "deploy"
KUBERNETES: Final = "1.34"
OF_OPERATORS: Final = {"rabbitmq.com/v1beta1", "postgresql.cnpg.io/v1"}
CONFIGS: Final[Mapping[str, type[Any]]] = {
    "proxy": ProxyConfig,
    "appserver": AppServerConfig,
    "provisioning": ProvisioningConfig,
    "events": EventsConfig,
}


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    """The base."""
    return render(DEPLOY / "k8s" / "base")


@pytest.fixture(scope="module")
def pods(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pod template of each service."""
    found = {d["metadata"]["name"]: d for d in documents if d["kind"] == "Deployment"}
    assert set(found) == {f"tandem-{kind}" for kind in CONFIGS}
    return {kind: found[f"tandem-{kind}"]["spec"]["template"] for kind in CONFIGS}


def test_every_document_is_valid(documents: list[dict[str, Any]]) -> None:
    checked = [d for d in documents if d["apiVersion"] not in OF_OPERATORS]
    for document in checked:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    kinds = {d["kind"] for d in checked}
    assert kinds >= {"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "Ingress"}


def test_a_wrong_document_would_be_found(documents: list[dict[str, Any]]) -> None:
    service = next(d for d in documents if d["kind"] == "Service")
    wrong = {**service, "spec": {**service["spec"], "selektor": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_there_is_no_namespace_and_no_secret_in_it(documents: list[dict[str, Any]]) -> None:
    assert [d for d in documents if "namespace" in d["metadata"]] == []
    assert [d for d in documents if d["kind"] == "Secret"] == []


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_service_takes_all_its_settings(
    kind: str, documents: list[dict[str, Any]], pods: dict[str, dict[str, Any]]
) -> None:
    settings = settings_of(kind, documents, container(pods[kind]))
    config = load(CONFIGS[kind], settings)
    assert config.node_id == f"tandem-{kind}-abcde"
    assert config.broker_url == SECRETS["connection_string"]
    shared = {key for d in documents if d["kind"] == "ConfigMap" for key in d["data"]}
    known = {variable(field) for field in fields(CONFIGS[kind])}
    named = {name for name in settings if name.startswith("TANDEM_")} - shared
    assert named <= known


def test_every_shared_setting_is_of_some_service(documents: list[dict[str, Any]]) -> None:
    shared = {key for d in documents if d["kind"] == "ConfigMap" for key in d["data"]}
    assert shared <= {variable(field) for config in CONFIGS.values() for field in fields(config)}


@pytest.mark.parametrize("kind", CONFIGS)
def test_ports_are_those_that_the_settings_say(
    kind: str, documents: list[dict[str, Any]], pods: dict[str, dict[str, Any]]
) -> None:
    spec = container(pods[kind])
    settings = settings_of(kind, documents, spec)
    ports = {port["name"]: port["containerPort"] for port in spec["ports"]}
    assert set(ports) >= {"http", "internal" if kind in ("proxy", "appserver") else "grpc"}
    for name, port in ports.items():
        listen = settings[f"TANDEM_{name.partition('-')[0].upper()}_LISTEN"]
        assert listen.endswith(f":{port}")
        assert port > 1023  # it has no right to a lower one
    for probe, path in (("livenessProbe", "live"), ("readinessProbe", "ready")):
        assert spec[probe]["httpGet"] == {"path": f"/health/{path}", "port": "http"}
    annotations = pods[kind]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports["http"])


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_pod_may_do_nothing_that_it_need_not(kind: str, pods: dict[str, dict[str, Any]]) -> None:
    spec = pods[kind]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    for one in [*spec["containers"], *spec.get("initContainers", [])]:
        rights = one["securityContext"]
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(one["resources"]["requests"])
        assert "memory" in one["resources"]["limits"]


@pytest.mark.parametrize("kind", CONFIGS)
def test_there_is_time_to_stop(
    kind: str, documents: list[dict[str, Any]], pods: dict[str, dict[str, Any]]
) -> None:
    settings = settings_of(kind, documents, container(pods[kind]))
    drain = float(settings.get("TANDEM_DRAIN_SECONDS", 0))
    assert pods[kind]["spec"]["terminationGracePeriodSeconds"] >= drain + 20
    if kind == "appserver":
        assert drain == 600


@pytest.mark.parametrize("kind", CONFIGS)
def test_two_pods_share_no_machine_if_there_are_others(
    kind: str, documents: list[dict[str, Any]], pods: dict[str, dict[str, Any]]
) -> None:
    spec = pods[kind]["spec"]
    names = {"app.kubernetes.io/name": f"tandem-{kind}"}
    if kind == "proxy":
        (rule,) = spec["affinity"]["podAntiAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        rules = [rule]
    else:
        rules = spec["topologySpreadConstraints"]
    assert "kubernetes.io/hostname" in {rule["topologyKey"] for rule in rules}
    assert all(rule["labelSelector"]["matchLabels"] == names for rule in rules)
    assert names.items() <= pods[kind]["metadata"]["labels"].items()
    budgets = [d for d in documents if d["kind"] == "PodDisruptionBudget"]
    assert names in [budget["spec"]["selector"]["matchLabels"] for budget in budgets]


def test_services_and_the_ingress_lead_to_ports_that_exist(
    documents: list[dict[str, Any]], pods: dict[str, dict[str, Any]]
) -> None:
    services = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "Service"}
    for spec in services.values():
        kind = spec["selector"]["app.kubernetes.io/name"].removeprefix("tandem-")
        names = {port["name"] for port in container(pods[kind])["ports"]}
        assert {port["targetPort"] for port in spec["ports"]} <= names
    (ingress,) = (d for d in documents if d["kind"] == "Ingress")
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            ports = services[backend["name"]]["ports"]
            assert backend["port"]["name"] in {port["name"] for port in ports}
    settings = next(d for d in documents if d["kind"] == "ConfigMap")["data"]
    host, _, port = settings["TANDEM_DIRECTORY_URL"].partition(":")
    assert int(port) in {p["port"] for p in services[host]["ports"]}
    assert services[host]["clusterIP"] == "None"


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/", "tandem-provisioning"),
        ("/static/app.js", "tandem-provisioning"),
        ("/console-config.json", "tandem-provisioning"),
        ("/openapi.json", "tandem-provisioning"),
        ("/api/v1/login", "tandem-provisioning"),
        ("/api/v1/events/ws", "tandem-events"),
        ("/api/v1/calls", "tandem-events"),
        ("/api/v1/cdrs/c1", "tandem-events"),
        ("/metrics", None),
        ("/health/ready", None),
    ],
)
def test_the_world_gets_the_console_and_the_apis_and_nothing_else(
    path: str, service: str | None, documents: list[dict[str, Any]]
) -> None:
    (ingress,) = (d for d in documents if d["kind"] == "Ingress")
    (rule,) = ingress["spec"]["rules"]
    leads: dict[str, str] = {}
    for one in rule["http"]["paths"]:
        place = one["path"]
        below = one["pathType"] == "Prefix" and path.startswith(place.rstrip("/") + "/")
        if path == place or below:
            leads[place] = one["backend"]["service"]["name"]
    # of several the longest counts
    assert (leads[max(leads, key=len)] if leads else None) == service


def test_nothing_but_what_is_named_reaches_a_pod(
    documents: list[dict[str, Any]], pods: dict[str, dict[str, Any]]
) -> None:
    policies = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "NetworkPolicy"}
    (closed,) = policies["tandem-closed"]["podSelector"]["matchExpressions"]
    assert "ingress" not in policies["tandem-closed"]
    for kind in ("appserver", "provisioning", "events"):
        assert f"tandem-{kind}" in closed["values"]
        rules = policies[f"tandem-{kind}"]["ingress"]
        opened = {port["port"]: rule["from"] for rule in rules for port in rule["ports"]}
        assert set(opened) == {port["containerPort"] for port in container(pods[kind])["ports"]}
        (grpc,) = opened[50051]
        assert grpc == {"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "tandem"}}}
    (sip,) = (r for r in policies["tandem-appserver"]["ingress"] if r["ports"][0]["port"] == 5070)
    assert {source["ipBlock"]["cidr"] for source in sip["from"]} == {
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
    }


def test_the_operators_resources_make_the_secrets_that_are_read(
    documents: list[dict[str, Any]], pods: dict[str, dict[str, Any]]
) -> None:
    """Fields that we rely on; their schemas are the operators'."""
    (broker,) = (d for d in documents if d["kind"] == "RabbitmqCluster")
    assert broker["spec"]["replicas"] == 3  # a quorum outlives one
    made = {f"{broker['metadata']['name']}-default-user", "tandem"}
    for cluster in (d for d in documents if d["kind"] == "Cluster"):
        spec = cluster["spec"]
        assert spec["instances"] == 3
        assert spec["minSyncReplicas"] == spec["maxSyncReplicas"] == 1
        assert spec["bootstrap"]["initdb"].keys() == {"database", "owner"}
        assert spec["storage"]["size"]
        made.add(f"{cluster['metadata']['name']}-app")
    read = set()
    for pod in pods.values():
        for one in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
            refs = (entry.get("valueFrom", {}).get("secretKeyRef") for entry in one["env"])
            read |= {ref["name"] for ref in refs if ref}
    assert read == made


@pytest.mark.parametrize("kind", CONFIGS)
def test_commands_are_there(kind: str, pods: dict[str, dict[str, Any]]) -> None:
    assert container(pods[kind])["args"] == [kind]
    tandem = shutil.which("tandem", path=str(ROOT / ".venv" / "bin")) or require("tandem")
    for one in [*pods[kind]["spec"]["containers"], *pods[kind]["spec"].get("initContainers", [])]:
        helped = subprocess.run(
            [tandem, *one["args"], "--help"], capture_output=True, text=True, check=False
        )
        assert helped.returncode == 0, helped.stderr


def test_the_overlay_of_the_readme_renders(tmp_path: Path) -> None:
    text = (DEPLOY / "k8s" / "README.md").read_text()
    kustomization, settings = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    overlay = tmp_path / "overlays" / "example"
    overlay.mkdir(parents=True)
    shutil.copytree(DEPLOY / "k8s" / "base", tmp_path / "base")
    (overlay / "kustomization.yaml").write_text(kustomization)
    (overlay / "settings.yaml").write_text(settings)
    documents = render(overlay)
    assert {d["metadata"].get("namespace") for d in documents} == {"tandem"}
    images = {
        container(d["spec"]["template"])["image"] for d in documents if d["kind"] == "Deployment"
    }
    assert images == {"registry.example.com/tandem:0.1.0"}


def test_the_image_runs_as_nobody_in_particular(pods: dict[str, dict[str, Any]]) -> None:
    text = (DEPLOY / "images" / "Dockerfile").read_text()
    user = pods["proxy"]["spec"]["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}" in text
    copied = re.findall(r"^COPY ([^-].*) \S+$", text, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    ignored = (DEPLOY / "images" / "Dockerfile.dockerignore").read_text().splitlines()
    assert sources <= {line[1:] for line in ignored if line.startswith("!")}
