"""Which nodes a local cluster has, where they listen, and the settings that each gets."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

KINDS: Final = ("provisioning", "events", "appserver", "proxy")
"""In the order in which they start."""
SERVER_PORTS: Final = ("broker", "broker-dist", "broker-names", "database")
DATABASES: Final = ("provisioning", "events")
DEFAULT_DOMAIN: Final = "tandem.local"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to run."""

    proxies: int = 2
    appservers: int = 2
    provisionings: int = 1
    events: int = 2
    host: str = "127.0.0.1"
    """Where phones and browsers find the cluster; all else stays on loopback."""
    domains: tuple[str, ...] = (DEFAULT_DOMAIN,)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    """With both, the proxies listen for SIP over TLS and secure WebSocket too."""
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """More settings: by the kind of node or, stronger, by its name."""

    def names(self, kind: str) -> list[str]:
        """The names of all nodes of a kind."""
        counts = {
            "proxy": self.proxies,
            "appserver": self.appservers,
            "provisioning": self.provisionings,
            "events": self.events,
        }
        return [f"{kind}{number}" for number in range(1, counts[kind] + 1)]

    def ports(self) -> list[str]:
        """The name of each port that is needed, `NODE.USE`: first those that people use."""
        phones = ["sip", "ws", *(["tls", "wss"] if self.tls_cert else [])]
        found = [f"{name}.{use}" for name in self.names("proxy") for use in phones]
        for kind in ("provisioning", "events", "proxy", "appserver"):
            uses = ("http",) if kind == "proxy" else ("http", "grpc")
            found += [f"{name}.{use}" for name in self.names(kind) for use in uses]
        switch = [*self.names("proxy"), *self.names("appserver")]
        return [*found, *(f"{name}.internal" for name in switch), *SERVER_PORTS]


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all nodes of a cluster share."""

    plan: Plan
    ports: Mapping[str, int]
    broker_url: str
    database_urls: Mapping[str, str]
    """By kind of node."""
    cluster_key: str
    admin_password: str

    def settings(self, kind: str, name: str) -> dict[str, str]:
        """The TANDEM_* variables of a node."""
        made = {
            "TANDEM_NODE_ID": name,
            "TANDEM_BROKER_URL": self.broker_url,
            "TANDEM_CLUSTER_KEY": self.cluster_key,
            "TANDEM_DIRECTORY_URL": self.directory_url,
            "TANDEM_DOMAINS": ",".join(self.plan.domains),
        }
        if kind != "proxy":
            made["TANDEM_GRPC_LISTEN"] = self.inside(name, "grpc")
        made |= getattr(self, f"_{kind}")(name)
        return made | {**self.plan.extra.get(kind, {}), **self.plan.extra.get(name, {})}

    def environment(self, kind: str, name: str) -> dict[str, str]:
        """The whole environment of a node: no setting comes from the launcher's own."""
        own = {k: v for k, v in os.environ.items() if not k.startswith("TANDEM_")}
        return own | {"PYTHONUNBUFFERED": "1"} | self.settings(kind, name)

    def inside(self, name: str, use: str) -> str:
        """`HOST:PORT` on loopback."""
        return f"127.0.0.1:{self.ports[f'{name}.{use}']}"

    def outside(self, name: str, use: str) -> str:
        """`HOST:PORT` as phones and browsers find it."""
        return f"{self.plan.host}:{self.ports[f'{name}.{use}']}"

    @property
    def directory_url(self) -> str:
        """Where all provisioning nodes serve gRPC."""
        return ",".join(self.inside(name, "grpc") for name in self.plan.names("provisioning"))

    @property
    def console_urls(self) -> list[str]:
        """Where browsers find the console."""
        names = self.plan.names("provisioning")
        return [f"http://{self.outside(name, 'http')}" for name in names]

    @property
    def events_urls(self) -> list[str]:
        """Where browsers find the events' HTTP API."""
        return [f"http://{self.outside(name, 'http')}" for name in self.plan.names("events")]

    def _proxy(self, name: str) -> dict[str, str]:
        plan = self.plan
        made = {
            "TANDEM_SIP_LISTEN": self.outside(name, "sip"),
            "TANDEM_WS_LISTEN": self.outside(name, "ws"),
            "TANDEM_INTERNAL_LISTEN": self.inside(name, "internal"),
            "TANDEM_HTTP_LISTEN": self.inside(name, "http"),
        }
        if plan.tls_cert and plan.tls_key:
            made["TANDEM_TLS_LISTEN"] = self.outside(name, "tls")
            made["TANDEM_WSS_LISTEN"] = self.outside(name, "wss")
            made["TANDEM_TLS_CERT"] = str(plan.tls_cert)
            made["TANDEM_TLS_KEY"] = str(plan.tls_key)
        return made

    def _appserver(self, name: str) -> dict[str, str]:
        proxies = self.plan.names("proxy")
        return {
            "TANDEM_INTERNAL_LISTEN": self.inside(name, "internal"),
            "TANDEM_HTTP_LISTEN": self.inside(name, "http"),
            "TANDEM_PRIVATE_TARGETS": "allow",  # this computer, and the network at home
            "TANDEM_DRAIN_SECONDS": "5",  # calls may end in peace, but nobody likes to wait
            "TANDEM_CONTACT_HOST": self.outside("proxy1", "sip"),
            # phones that were given a proxy's address for a domain
            "TANDEM_LOCAL_HOSTS": ",".join(self.outside(proxy, "sip") for proxy in proxies),
        }

    def _provisioning(self, name: str) -> dict[str, str]:
        return {
            "TANDEM_HTTP_LISTEN": self.outside(name, "http"),
            "TANDEM_DATABASE_URL": self.database_urls["provisioning"],
            "TANDEM_ADMIN_PASSWORD": self.admin_password,
            "TANDEM_EVENTS_URL": ",".join(self.events_urls),
        }

    def _events(self, name: str) -> dict[str, str]:
        return {
            "TANDEM_HTTP_LISTEN": self.outside(name, "http"),
            "TANDEM_DATABASE_URL": self.database_urls["events"],
            "TANDEM_CONSOLE_ORIGINS": ",".join(self.console_urls),
        }


def command(kind: str) -> list[str]:
    """What starts a node."""
    return [sys.executable, "-m", "services.local", kind]
