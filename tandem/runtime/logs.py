"""Logs: the standard library's, one line per record, on one stream, with secrets blotted out.

Tandem logs no secrets on purpose. The blotting is for what others log: an access log's
`?access_token=…`, a URL with a password in an exception's text.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Final, TextIO

_SECRETS: Final = (
    re.compile(r"((?:access_token|token|password|api_key)=)[^&\s\"']+", re.IGNORECASE),
    re.compile(r"((?:authorization: *)?\bbearer +)[^\s\"']+", re.IGNORECASE),
    re.compile(r"(://[^/\s:@]+:)[^/\s@]+(?=@)"),
)
CHATTY: Final = ("alembic", "uvicorn", "aiosqlite")
"""What others log at `info` that nobody who runs a switch asked for."""
INDISCREET: Final = ("httpx", "httpcore")
"""What logs whole URLs and headers: those that dialplans ask for hold secrets of customers."""
LEVELS: Final = ("debug", "info", "warning", "error")


class LineFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z WARNING services.proxy: text`, tracebacks folded into the line."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """One line without control characters."""
        text = super().format(record)
        for secret in _SECRETS:
            text = secret.sub(r"\1***", text)
        return "".join(map(_visible, text))


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    return {"\n": "\\n", "\r": "\\r", "\t": " "}.get(char) or char.encode("unicode_escape").decode()


def set_up(level: str = "info", stream: TextIO | None = None) -> None:
    """Send all records from `level` (one of LEVELS) on to `stream`, standard error if None."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in (*INDISCREET, *(CHATTY if level == "info" else ())):
        logging.getLogger(name).setLevel(logging.WARNING)
