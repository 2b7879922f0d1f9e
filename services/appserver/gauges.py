"""What an appserver shows of itself: for metrics. All gauges return to zero when nobody calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.appserver.handlers.tools import Tools
from services.appserver.ports import Calls
from tandem.runtime.metrics import Metrics
from tandem.sip.transaction import TransactionLayer


def show(
    metrics: Metrics,
    tools: Tools,
    layer: TransactionLayer,
    calls: Calls,
    requests: Mapping[str, int],
    draining: Callable[[], bool],
) -> None:
    """Show what it did, and what is under way. `requests` counts by method."""

    def responses() -> dict[str, int]:
        inside, outside = layer.answers, tools.answers
        return {f"{n}xx": inside[n] + outside[n] for n in range(1, 7)}

    metrics.counters("tandem_appserver", tools.counters, "What the appserver did")
    metrics.labelled("tandem_appserver_requests", "method", lambda: requests, "Requests taken")
    metrics.labelled("tandem_appserver_responses", "class", responses, "Answers to requests")
    metrics.gauge("tandem_calls", lambda: len(calls), "Calls under way")
    metrics.gauge("tandem_dialogs", lambda: calls.dialogs, "Dialogs known")
    metrics.gauge("tandem_transactions", lambda: len(layer), "Transactions under way")
    metrics.gauge("tandem_bindings", lambda: tools.table.count, "Bindings known")
    metrics.gauge("tandem_own_bindings", lambda: tools.table.own, "Bindings taken here")
    metrics.gauge("tandem_cached_accounts", lambda: len(tools.accounts), "Accounts at hand")
    metrics.gauge("tandem_cached_dialplans", lambda: len(tools.programs), "Dialplans at hand")
    metrics.gauge("tandem_draining", draining, "Whether it drains")
