"""The settings of the services in `tandem local`: their own `TANDEM_*` variables, but for what one
process decides for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final, TypeVar

from services.appserver.config import AppServerConfig
from services.appserver.domain.fence import ALLOW
from services.events.config import EventsConfig
from services.provisioning.config import ProvisioningConfig
from services.proxy.config import ProxyConfig
from tandem.runtime.config import load, variable

T = TypeVar("T")

SERVICES: Final[tuple[type[Any], ...]] = (
    AppServerConfig, EventsConfig, ProvisioningConfig, ProxyConfig,
)  # fmt: skip

OWN: Final = frozenset({
    # who is who, and how nodes find and trust each other
    "node_id", "broker_url", "directory_url", "appservers", "proxies", "internal_listen",
    "cluster_key", "nonce_secret", "secret_key", "weight", "drain_seconds", "accounts_file",
    "grpc_cert", "grpc_key", "grpc_ca", "grpc_name", "events_url", "api_token", "console_origins",
    # what options of `tandem local` say, its own variables, or its data folder
    "sip_listen", "tls_listen", "ws_listen", "wss_listen", "tls_cert", "tls_key", "http_listen",
    "http_cert", "http_key", "grpc_listen", "fastagi_listen", "domains", "local_hosts",
    "contact_host", "database_url", "admin_password", "recover_calls",
    # each process sends its own traces, and this is none of these
    "otlp_endpoint",
})  # fmt: skip
"""Fields that are not read from the environment."""

AT_HOME: Final = {"TANDEM_PRIVATE_TARGETS": ALLOW}
"""Where one PC has another default than a cluster: nobody but the household writes dial strings."""


def of_service(cls: type[T], environ: Mapping[str, str], **own: Any) -> T:
    """A service's settings: from the environment, and these. Raises ConfigError for a variable that
    makes no sense."""
    barred = {variable(item) for item in fields(cls) if item.name in OWN}  # type: ignore[arg-type]
    said = {name: text for name, text in environ.items() if text.strip() and name not in barred}
    given = AT_HOME | said
    if cls is ProxyConfig:  # it wants to know one
        given["TANDEM_APPSERVERS"] = "appserver.invalid:5060"
    return replace(load(cls, given), **own)  # type: ignore[type-var]


def check(environ: Mapping[str, str]) -> None:
    """Raises ConfigError for the first variable that makes no sense."""
    for cls in SERVICES:
        of_service(cls, environ)
