"""What /metrics shows of a proxy. All is counted where it happens and read at the scrape alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from services.proxy.domain.appservers import Appservers
from services.proxy.domain.dispatch import Dispatch
from services.proxy.domain.hints import HintTable
from services.proxy.domain.members import Members
from services.proxy.domain.methods import CLASSES, METHODS, OTHER, by_class
from services.proxy.handlers.forwarder import Forwarder
from services.proxy.handlers.orphans import Orphans
from services.proxy.handlers.pending import Pending
from tandem.runtime.metrics import Metrics

_ALWAYS: Final = ("received", "keepalives", "keepalives_out")
_LABELLED: Final = ("dropped_", "answered_", "requests_", "responses_")


class Figures(Protocol):
    """A proxy, for reading."""

    appservers: Appservers
    members: Members
    hints: HintTable
    dispatch: Dispatch
    orphans: Orphans
    pending: Pending
    forwarder: Forwarder

    @property
    def counters(self) -> Mapping[str, int]:
        """What happened, by name."""


def register(metrics: Metrics, proxy: Figures) -> None:
    """Show all of it; the proxy must have begun."""
    metrics.counters("tandem_proxy", lambda: _plain(proxy.counters), "What the proxy did")
    metrics.labelled("tandem_proxy_dropped", "reason", lambda: _by(proxy.counters, "dropped_"),
                     "Messages dropped, or refused by the proxy itself")  # fmt: skip
    metrics.labelled("tandem_proxy_answered", "status", lambda: _by(proxy.counters, "answered_"),
                     "Requests that the proxy answered itself")  # fmt: skip
    forwarder = proxy.forwarder
    for method in (*METHODS, OTHER):
        _one(metrics, "requests", lambda m=method: forwarder.methods_in[m],  # type: ignore[misc]
             {"direction": "in", "method": method.decode()})  # fmt: skip
        _one(metrics, "requests", lambda m=method: forwarder.methods_out[m],  # type: ignore[misc]
             {"direction": "out", "method": method.decode()})  # fmt: skip
    for number, name in enumerate(CLASSES, 1):
        for direction, counts in (("in", forwarder.classes_in), ("out", forwarder.classes_out)):
            _one(metrics, "responses", lambda c=counts, n=number: by_class(c, n),  # type: ignore[misc]
                 {"direction": direction, "class": name})  # fmt: skip
    metrics.counters("tandem_proxy_link", proxy.pending, "Requests of connections over the link")
    metrics.counters(
        "tandem_proxy_orphans", proxy.orphans, "INVITEs whose appserver died: answered with 503"
    )
    metrics.counters("tandem_proxy_hints", proxy.hints, "Next-call hints")
    gauge = metrics.gauge
    gauge("tandem_proxy_hints_live", lambda: len(proxy.hints), "Next-call hints that are live")
    gauge("tandem_proxy_appservers", lambda: len(proxy.appservers.active), "Appservers, by state",
          {"state": "active"})  # fmt: skip
    gauge("tandem_proxy_appservers", lambda: proxy.members.draining, "Appservers, by state",
          {"state": "draining"})  # fmt: skip
    metrics.counters(
        "tandem_proxy_appservers", lambda: {"lost": proxy.members.lost}, "Appservers found silent"
    )
    gauge("tandem_proxy_pending", lambda: len(proxy.pending), "Requests not answered yet")
    gauge("tandem_proxy_invites_remembered", lambda: len(proxy.dispatch), "INVITEs kept in mind")


def _plain(counters: Mapping[str, int]) -> dict[str, int]:
    """Those that are not told by labels, zeros included."""
    found = dict.fromkeys(_ALWAYS, 0)
    found.update((n, v) for n, v in counters.items() if not n.startswith(_LABELLED))
    return found


def _by(counters: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {n.removeprefix(prefix): v for n, v in counters.items() if n.startswith(prefix)}


def _one(metrics: Metrics, name: str, read: Callable[[], int], labels: Mapping[str, str]) -> None:
    metrics.counters("tandem_proxy", lambda: {name: read()}, "Forwarded by the proxy", labels)
