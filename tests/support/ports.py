"""Ports for programs that must be told one.

They lie below those that the kernel gives to outgoing connections, so that they stay free until the
program takes them, and while a server is down. Runs at the same time begin at different places.
"""

from __future__ import annotations

import itertools
import os
import socket
from typing import Final

FIRST: Final = 15_000
COUNT: Final = 16_000
APART: Final = 1_009
"""Between the first ports of two processes whose ids follow each other."""

_offsets = itertools.count(os.getpid() * APART)


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody has there, neither for TCP nor for UDP; no two calls give the same soon."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = FIRST + next(_offsets) % COUNT
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(family, kind) as probe:
                    probe.bind((host, port))
        except OSError:
            continue
        return port
