"""Bindings for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tandem.bus.location import Binding


def a_binding(now: float, **changes: Any) -> Binding:
    """A phone of alice's, registered `now` for an hour."""
    plain = Binding(
        aor="desk@local",
        owner="alice",
        contact="sip:desk@192.0.2.7:5060",
        received="udp:192.0.2.7:5060",
        path=("<sip:token@192.0.2.1;lr>",),
        q=1.0,
        instance="",
        reg_id=0,
        call_id="c1@phone",
        cseq=1,
        user_agent="phone/1.0",
        registered_at=now,
        expires_at=now + 3600,
        node="appserver-1",
        proxy="proxy-1",
    )
    return replace(plain, **changes)
