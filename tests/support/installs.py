"""Servers and clients that come from the system's packages."""

from __future__ import annotations

import os
import shutil
from typing import Final

import pytest

PACKAGES: Final = {
    "sipp": "sip-tester",
    "baresip": "baresip-core",
    "kamailio": "kamailio",
    "nsd": "nsd",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
}
"""Programs and the Debian packages that hold them; install-packages.sh installs them all."""


def require(name: str) -> str:
    """The path of a program. Without it the test is skipped, and under CI=true it fails."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        text = f"{name} is not installed; it is in the package {PACKAGES[name]}"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(text)
        pytest.skip(text)
    return path
