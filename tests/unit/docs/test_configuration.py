"""The tables of settings are kept by hand; they must be those of the code, and no page may name a
setting that is none."""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Final

import pytest

from services.appserver.config import AppServerConfig
from services.events.config import EventsConfig
from services.local.cli import EPILOG
from services.local.settings import OWN
from services.provisioning.config import ProvisioningConfig
from services.proxy.config import ProxyConfig
from tandem.runtime.config import variable

ROOT: Final = Path(__file__).parents[3]
DOCS: Final = ROOT / "docs"
NAME: Final = re.compile(r"\bTANDEM_[A-Z0-9_]*[A-Z0-9]\b")
SERVICES: Final[dict[str, type[Any]]] = {
    "proxy": ProxyConfig,
    "appserver": AppServerConfig,
    "provisioning": ProvisioningConfig,
    "events": EventsConfig,
}
SET_IN: Final = {".md", ".py", ".yaml"}
OF_DATABASES: Final = "TANDEM_DATABASE_URL"
"""What `tandem db` reads: docs/databases.md has it."""
PLACEHOLDER: Final = "TANDEM_APPSERVERS"
"""What local mode gives its proxy, and reads nowhere."""


def table(page: str, heading: str, column: int = 0) -> dict[str, str]:
    """What the last column of a table says of each variable in this one."""
    text = (DOCS / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line[:1] == "|"]
    return {name: cells[-1].strip() for cells in rows for name in NAME.findall(cells[column])}


def named(*paths: Path) -> set[str]:
    """The variables that these files name."""
    return {name for path in paths for name in NAME.findall(path.read_text())}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def shown(field: Field[Any]) -> str:
    """A default as the tables write it."""
    value = field.default
    if value is MISSING:
        value = field.default_factory() if field.default_factory is not MISSING else None
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("service", SERVICES)
def test_the_table_of_a_service_has_its_settings_and_no_others(service: str) -> None:
    assert set(table("configuration.md", service)) == {
        variable(field) for field in fields(SERVICES[service])
    }


@pytest.mark.parametrize("service", SERVICES)
def test_the_table_of_a_service_has_the_defaults_of_the_code(service: str) -> None:
    told = table("configuration.md", service)
    for field in fields(SERVICES[service]):
        cell, default = told[variable(field)], shown(field)
        # where there is none, words may say what holds then
        assert cell == f"`{default}`" if default else "`" not in cell, variable(field)


def test_the_table_of_local_mode_has_its_own_settings_and_the_likely_ones_of_services() -> None:
    passed = {
        variable(field)
        for config in SERVICES.values()
        for field in fields(config)
        if field.name not in OWN
    }
    read = named(*sources("services/local")) - {OF_DATABASES, PLACEHOLDER}
    told = set(table("operations.md", "Settings"))
    assert told == set(NAME.findall(EPILOG))
    assert read <= told <= read | passed
    assert OF_DATABASES in named(DOCS / "databases.md")


def test_the_table_of_tandemctl_has_its_settings_and_no_others() -> None:
    read = named(*sources("tandemctl"))
    assert set(table("tandemctl.md", "Where it asks", column=1)) == read


def test_nothing_names_a_setting_that_is_none() -> None:
    known = {variable(field) for config in SERVICES.values() for field in fields(config)}
    known |= named(*sources("services/local"), *sources("tandemctl"))
    texts = [
        *DOCS.glob("*.md"),
        *ROOT.glob("*.md"),
        *(ROOT / "services").glob("*/README.md"),
        *(
            path
            for path in (ROOT / "deploy").rglob("*")
            if path.suffix in SET_IN and path.is_file()
        ),
    ]
    assert {name: path.name for path in texts for name in named(path) - known} == {}
