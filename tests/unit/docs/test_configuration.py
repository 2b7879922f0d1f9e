"""docs/configuration.md is kept by hand; no setting may be missing from it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from services.appserver.config import AppServerConfig
from services.events.config import EventsConfig
from services.provisioning.config import ProvisioningConfig
from services.proxy.config import ProxyConfig
from tandem.runtime.config import variable

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


@pytest.mark.parametrize(
    ("heading", "config"),
    [
        ("proxy", ProxyConfig),
        ("appserver", AppServerConfig),
        ("provisioning", ProvisioningConfig),
        ("events", EventsConfig),
    ],
)
def test_every_setting_of_a_service_is_in_its_table(heading: str, config: type[Any]) -> None:
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    missing = [variable(f) for f in fields(config) if f"| `{variable(f)}` |" not in section]
    assert missing == []
