"""What holds for the settings of all services."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from services.appserver.config import AppServerConfig
from services.events.config import EventsConfig
from services.provisioning.config import ProvisioningConfig
from services.proxy.config import ProxyConfig

SECRETS = ("broker_url", "database_url", "cluster_key", "api_token", "admin_password")
"""The settings that are secrets, or may hold a password."""


@pytest.mark.parametrize("cls", [AppServerConfig, EventsConfig, ProvisioningConfig, ProxyConfig])
def test_no_setting_that_may_hold_a_secret_is_shown(cls: Any) -> None:
    has = {field.name: field.repr for field in fields(cls) if field.name in SECRETS}
    assert set(has) >= {"broker_url", "cluster_key"}
    assert not any(has.values()), has
