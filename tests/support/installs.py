"""Servers and clients that come from the system's packages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

PACKAGES: Final = {
    "sipp": "sip-tester",
    "baresip": "baresip-core",
    "kamailio": "kamailio",
    "rabbitmq-server": "rabbitmq-server",
    "epmd": "erlang-base",
    "nsd": "nsd",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "kubectl": "kubernetes-client",
    "node": "nodejs",
    "postgres": "postgresql",
    "initdb": "postgresql",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
}
"""Programs and the Debian packages that hold them; install-packages.sh installs them all."""


def require(name: str, folders: Iterable[Path] = ()) -> str:
    """The path of a program, from the PATH or one of `folders`. Without it the test is skipped,
    and under CI=true it fails."""
    places = (os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", *map(str, folders))
    path = shutil.which(name, path=":".join(places))
    if path is None:
        text = f"{name} is not installed; it is in the package {PACKAGES[name]}"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(text)
        pytest.skip(text)
    return path
