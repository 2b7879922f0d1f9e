"""Every setting of the services works in `tandem local`, but for what it decides itself."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest

from services.appserver.config import AppServerConfig
from services.local.app import Local
from services.local.config import LocalConfig
from services.local.settings import OWN, SERVICES, of_service
from services.proxy.config import ProxyConfig
from tandem.runtime.config import variable

TEXTS = {
    "server_name": "Other", "google_voice_url": "https://voice.example", "smtp_from": "a@b.example",
    "smtp_url": "smtp://mail.example", "barred_providers": "example", "public_address": "192.0.2.1",
    "public_name": "sip.example.com", "digest_algorithms": "SHA-256,MD5",
    "old_secret_keys": "one,two", "private_targets": "192.0.2.0/24",
}  # fmt: skip
CASES = [(cls, item) for cls in SERVICES for item in fields(cls) if item.name not in OWN]


def another(item: Field[Any]) -> str:
    """A value that is not the default."""
    if item.name in TEXTS:
        return TEXTS[item.name]
    if isinstance(item.default, bool):
        return str(not item.default)
    assert isinstance(item.default, int | float), f"{item.name}: give this test a value for it"
    return str(item.default + 1)


ENVIRON = {variable(item): another(item) for _, item in CASES}


@pytest.mark.parametrize(("cls", "item"), CASES, ids=lambda x: getattr(x, "name", None))
def test_a_setting_reaches_its_service(cls: type[Any], item: Field[Any]) -> None:
    own = {"appservers": ("appserver.invalid:5060",)} if cls is ProxyConfig else {}
    made = of_service(cls, ENVIRON, **own)
    assert item.default is not MISSING
    assert getattr(made, item.name) != item.default


@pytest.mark.parametrize(
    ("environ", "targets"),
    [
        ({}, ("allow",)),
        ({"TANDEM_PRIVATE_TARGETS": " "}, ("allow",)),  # as empty as any other
        ({"TANDEM_PRIVATE_TARGETS": "deny"}, ("deny",)),
    ],
)
def test_at_home_private_networks_are_open_unless_the_owner_closes_them(
    environ: dict[str, str], targets: tuple[str, ...]
) -> None:
    assert of_service(AppServerConfig, environ).private_targets == targets


def test_what_one_process_decides_itself_is_not_read(tmp_path: Path) -> None:
    barred = {variable(item): "nonsense" for cls in SERVICES for item in fields(cls)
              if item.name in OWN}  # fmt: skip
    for cls in SERVICES:
        made = of_service(cls, barred)
        kept = [f for f in fields(cls) if f.name in OWN and f.name != "appservers"]
        assert [getattr(made, f.name) for f in kept] == [f.default for f in kept]
    LocalConfig(data_dir=tmp_path, environ=barred)


@pytest.mark.parametrize(
    ("name", "text"),
    [("TANDEM_BARRED_PROVIDERS", "("), ("TANDEM_MAX_PROVIDERS", "-1"), ("TANDEM_RATE_LIMIT", "x"),
     ("TANDEM_TRIGGER_PRIVATE", "maybe"), ("TANDEM_EVENT_KEEP_DAYS", "long")],
)  # fmt: skip
def test_one_that_makes_no_sense_is_told_before_anything_starts(
    tmp_path: Path, name: str, text: str
) -> None:
    with pytest.raises(ValueError, match=name):
        LocalConfig(data_dir=tmp_path, environ={name: text})


def test_the_services_of_one_process_are_made_with_them(tmp_path: Path) -> None:
    local = Local(LocalConfig(data_dir=tmp_path, environ=ENVIRON))
    proxy = local._proxy_config("k" * 64, ("192.0.2.7",))
    assert (proxy.rate_limit, proxy.public_name) == (1001.0, "sip.example.com")
    assert proxy.node_id == "local-proxy"
