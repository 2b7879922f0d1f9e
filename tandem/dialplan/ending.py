"""What the caller hears when a script ends and nobody has answered."""

from __future__ import annotations

from typing import Final

from tandem.dialplan.sysapi import Sys

NOTHING: Final = (480, "Temporarily Unavailable")
"""A script that neither dialled nor answered (ORIGINAL §3)."""
FAULT: Final = (500, "Dial plan error")
"""A script that is wrong, or used more than it may."""


def final(sys: Sys) -> tuple[int, str]:
    """Status and reason: those of the last dial, if there was one."""
    if 300 <= sys.last_status <= 699:
        return sys.last_status, sys.last_reason
    return NOTHING
