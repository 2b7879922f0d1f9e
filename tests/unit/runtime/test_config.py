from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from tandem.runtime.address import HostPort
from tandem.runtime.config import ConfigError, check_otlp_endpoint, load, setting


@dataclass(frozen=True, slots=True)
class Example:
    node_id: str
    count: int = setting(3, minimum=1, maximum=9)
    ratio: float = 0.5
    on: bool = False
    http_listen: HostPort = HostPort("127.0.0.1", 8080)  # noqa: RUF009  # it is immutable
    peers: tuple[HostPort, ...] = ()
    names: tuple[str, ...] = ("a",)
    folder: Path | None = None
    mode: Literal["fast", "safe"] = "fast"
    url: str = setting("memory:", env="TANDEM_BROKER_URL")

    def __post_init__(self) -> None:
        if self.names and self.names[0] == "bad":
            raise ValueError("TANDEM_NAMES: bad is no name")


def read(**values: str) -> Example:
    return load(Example, {"TANDEM_NODE_ID": "n", **{f"TANDEM_{k}": v for k, v in values.items()}})


def test_defaults_stand_where_nothing_is_set() -> None:
    assert read() == Example("n")
    assert read(COUNT="  ", PEERS="") == Example("n")


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("COUNT", "7", "count", 7),
        ("RATIO", "1e-3", "ratio", 0.001),
        ("ON", "Yes", "on", True),
        ("ON", "off", "on", False),
        ("HTTP_LISTEN", "[::1]:1", "http_listen", HostPort("::1", 1)),
        ("PEERS", "a:1, [::2]:2,", "peers", (HostPort("a", 1), HostPort("::2", 2))),
        ("NAMES", "x,y z", "names", ("x", "y z")),
        ("FOLDER", "/tmp", "folder", Path("/tmp")),
        ("MODE", "safe", "mode", "safe"),
        ("BROKER_URL", "amqp://h", "url", "amqp://h"),
    ],
)
def test_each_type_is_read(name: str, text: str, field: str, value: Any) -> None:
    assert getattr(read(**{name: text}), field) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [("COUNT", "x"), ("COUNT", "0"), ("COUNT", "10"), ("RATIO", "nan"), ("RATIO", "much"),
     ("ON", "maybe"), ("HTTP_LISTEN", "8080"), ("PEERS", "a:1,b"), ("MODE", "slow"),
     ("NAMES", "bad")],
)  # fmt: skip
def test_a_wrong_value_is_one_line_that_names_the_variable(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**{name: text})
    assert str(caught.value).startswith(f"TANDEM_{name}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_value_without_default_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^TANDEM_NODE_ID is not set$"):
        load(Example, {})


@pytest.mark.parametrize(
    "text", ["collector:4318", "grpc://collector", "http://", "http://collector:x", "4318"]
)
def test_what_names_no_collector_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="TANDEM_OTLP_ENDPOINT"):
        check_otlp_endpoint(text)


@pytest.mark.parametrize("text", ["", "http://127.0.0.1:4318", "https://collector.example/otlp"])
def test_what_names_a_collector_is_taken(text: str) -> None:
    check_otlp_endpoint(text)
