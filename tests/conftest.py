"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

from tests.support.rabbit import rabbit as rabbit
from tests.support.rabbit import rabbit_server as rabbit_server

pytest_plugins = ["tests.support.databases"]

# Read when grpc is imported. Our children become other programs at once: what grpc does for those
# that would go on using its channels can only go wrong.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

# A run of CI tells about the change, not about the luck of this day's examples; at home every run
# looks somewhere new.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("home", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "home")
