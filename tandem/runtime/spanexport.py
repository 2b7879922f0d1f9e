"""Between OpenTelemetry's batches of spans and the exporter that sends them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

SAY_AGAIN_SECONDS: Final = 600.0
"""Between two lines in the log about a collector that is away."""

_log = logging.getLogger(__name__)


class Export(SpanExporter):
    """Around an exporter: counts, and says that the collector is away now and then, where the
    exporter itself would say so every few seconds."""

    def __init__(self, inner: SpanExporter, where: str) -> None:
        self.exported = 0
        """Spans that the collector took."""
        self.lost = 0
        """Spans that it did not take in time."""
        self._inner = inner
        self._where = where
        self._said = 0.0
        self._closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Called in a thread of the SDK's own."""
        if not self._closed and self._exported(spans):
            self.exported += len(spans)
            if self._said:
                self._said = 0.0
                _log.warning("traces are taken again at %s; %d spans are lost",
                             self._where, self.lost)  # fmt: skip
            return SpanExportResult.SUCCESS
        self.lost += len(spans)
        now = monotonic()
        if not self._said or now - self._said > SAY_AGAIN_SECONDS:
            self._said = now
            _log.warning("traces can't be exported to %s and are dropped", self._where)
        return SpanExportResult.FAILURE

    def _exported(self, spans: Sequence[ReadableSpan]) -> bool:
        try:
            return self._inner.export(spans) is SpanExportResult.SUCCESS
        except Exception:  # it would be swallowed by the SDK, and not be counted
            _log.exception("%d spans can't be exported", len(spans))
            return False

    def shutdown(self) -> None:
        """Give up what waits; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._inner.shutdown()
