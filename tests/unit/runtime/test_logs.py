from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from tandem.runtime import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.set_up("info", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_record_is_one_line_with_time_level_and_logger(stream: io.StringIO) -> None:
    logging.getLogger("services.proxy").warning("two\nlines\x1b[0m")
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert " WARNING services.proxy: two\\nlines\\x1b[0m" in line
    assert line[10] == "T"
    assert line[23] == "Z"


def test_a_traceback_stays_in_the_line(stream: io.StringIO) -> None:
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logging.getLogger("x").exception("failed")
    assert stream.getvalue().count("\n") == 1
    assert "RuntimeError: boom" in stream.getvalue()


def test_records_below_the_level_are_left_out(stream: io.StringIO) -> None:
    logging.getLogger("x").debug("detail")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "text",
    ["GET /api/v1/events?access_token=s3cret&filter=x", "Authorization: Bearer s3cret",
     "amqp://guest:s3cret@broker/", "password=s3cret"],
)  # fmt: skip
def test_secrets_are_blotted_out(stream: io.StringIO, text: str) -> None:
    logging.getLogger("x").info("%s", text)
    assert "s3cret" not in stream.getvalue()
    assert "***" in stream.getvalue()


@pytest.mark.parametrize("level", ["info", "debug"])
def test_addresses_that_customers_ask_for_are_nobodys_business(level: str) -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, before = root.handlers[:], root.level
    try:
        logs.set_up(level, stream)
        logging.getLogger("httpx").info("HTTP Request: GET http://192.0.2.1/call?pin=1234")
        logging.getLogger("httpcore.http11").debug("request headers: X-Key: 1234")
    finally:
        root.handlers[:] = handlers
        root.setLevel(before)
    assert stream.getvalue() == ""
