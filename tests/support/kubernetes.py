"""What kustomize renders, read as Kubernetes would."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.installs import require

SECRETS: Final = {
    "cluster-key": "k" * 32,
    "admin-password": "correct horse battery",
    "connection_string": "amqp://user:password@tandem-rabbitmq.ns.svc:5672/",
    "uri": "postgresql://tandem:password@tandem-events-db-rw.ns:5432/events",
}
"""What the secrets hold, by key, in the form that their makers give them."""
ADDRESSES: Final = {"status.podIP": "10.1.2.3", "status.hostIP": "10.9.8.7"}


def render(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    done = subprocess.run(
        [require("kubectl"), "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    """The one container of a service."""
    (only,) = pod["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def settings_of(kind: str, documents: list[dict[str, Any]], spec: dict[str, Any]) -> dict[str, str]:
    """The environment of a container as Kubernetes would make it."""
    maps = {d["metadata"]["name"]: d["data"] for d in documents if d["kind"] == "ConfigMap"}
    found: dict[str, str] = {}
    for source in spec.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]
    for entry in spec["env"]:
        origin = entry.get("valueFrom", {})
        if "secretKeyRef" in origin:
            value = SECRETS[origin["secretKeyRef"]["key"]]
        elif "fieldRef" in origin:
            value = ADDRESSES.get(origin["fieldRef"]["fieldPath"], f"tandem-{kind}-abcde")
        else:
            value = re.sub(r"\$\((\w+)\)", lambda name: found[name[1]], entry["value"])
        found[entry["name"]] = value
    return found
