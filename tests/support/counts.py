"""What the running switch counts at /metrics."""

from __future__ import annotations

from collections import Counter

from tests.support.switch import Switch


async def counts(switch: Switch) -> Counter[str]:
    """Every figure, by name and labels: `name` or `name{label="value"}`."""
    answer = await switch.api.client.get("/metrics")
    answer.raise_for_status()
    found: Counter[str] = Counter()
    for line in answer.text.splitlines():
        name, _, value = line.rpartition(" ")
        if not name.startswith("#"):
            found[name] = int(float(value))
    return found


def refused(now: Counter[str]) -> int:
    """Messages from outside that the proxy dropped or answered with a refusal."""
    inside = ("link_", "response_flow_gone")
    prefix = 'tandem_proxy_dropped_total{reason="'
    reasons = {name.removeprefix(prefix): n for name, n in now.items() if name.startswith(prefix)}
    return sum(n for reason, n in reasons.items() if not reason.startswith(inside))
