"""The little state that a stateless proxy has: buckets, active appservers, drops, probes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from services.proxy.adapters.probes import OptionsProbes
from services.proxy.config import ProxyConfig, appserver_address
from services.proxy.domain import limiter as limits
from services.proxy.domain.appservers import Appservers
from services.proxy.domain.limiter import Limiter
from services.proxy.domain.members import INTERVAL, SILENCE, Members
from services.proxy.domain.scan import scan, split_items
from services.proxy.handlers.drops import Drops
from tandem.bus.ports import Topic
from tandem.runtime.config import ConfigError
from tandem.sip.limits import MAX_HEADERS, MAX_LINE


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def take(limiter: Limiter, host: str, now: float) -> bool:
    """What the forwarder does."""
    bucket = limiter.bucket(host, now)
    if bucket.left < 1 and not limiter.refill(bucket, now):
        return False
    bucket.left -= 1
    return True


def test_a_burst_is_taken_and_then_the_rate() -> None:
    limiter = Limiter(10)
    assert [take(limiter, "a", 0.0) for _ in range(25)].count(True) == 20
    assert take(limiter, "b", 0.0)
    assert [take(limiter, "a", 1.0) for _ in range(25)].count(True) == 10
    assert [take(limiter, "a", 1000.0) for _ in range(25)].count(True) == 20


def test_no_rate_is_no_limit() -> None:
    limiter = Limiter(0)
    assert all(take(limiter, "a", 0.0) for _ in range(1000))


def test_the_table_of_sources_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SOURCES", 3)
    limiter = Limiter(1)
    first = limiter.bucket("0", 0.0)
    for n in range(1, 4):
        limiter.bucket(str(n), 0.0)
    assert limiter.bucket("3", 0.0) is limiter.bucket("3", 0.0)
    assert limiter.bucket("0", 0.0) is not first


def test_only_the_calls_of_an_appserver_that_goes_move() -> None:
    names = [f"10.0.0.{n}:7000" for n in range(4)]
    call_ids = [b"%d@example" % n for n in range(2000)]
    appservers = Appservers(names)
    before = {call_id: appservers.pick(call_id) for call_id in call_ids}
    shares = Counter(before.values())
    assert min(shares.values()) > 350
    appservers.set_active(names[1:])
    for call_id, owner in before.items():
        assert appservers.pick(call_id) == owner or owner == names[0]
    assert Appservers().pick(b"x") is None


class FakeLink:
    """Keeps what is sent."""

    address = "10.0.0.1:7000"
    reliable = False

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, str]] = []
        self.receiver = lambda data, peer: None

    def send(self, data: bytes, peer: str) -> None:
        self.sent.append((data, peer))


def test_an_appserver_is_active_while_it_answers() -> None:
    clock, link, appservers = Clock(), FakeLink(), Appservers()
    probes = OptionsProbes(Members(["a:1", "b:1"], appservers, clock), link)
    probes.tick()
    assert [peer for _, peer in link.sent] == ["a:1", "b:1"]
    assert link.sent[0][0].startswith(b"OPTIONS sip:a:1 SIP/2.0\r\n")
    probes.answered("a:1", 200)
    probes.answered("b:1", 404)
    probes.answered("stranger:1", 200)
    assert appservers.active == {"a:1", "b:1"}
    probes.answered("b:1", 503)
    assert appservers.active == {"a:1"}
    assert appservers.alive == {"a:1", "b:1"}
    for _ in range(int(SILENCE / INTERVAL) + 1):
        clock.now += INTERVAL
        probes.tick()
    assert appservers.alive == frozenset()


class FakePublisher:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def publish(self, topic: Topic, payload: Any) -> None:
        assert topic is Topic.EVENTS
        self.events.append(payload)


def test_a_source_is_told_of_once_a_second() -> None:
    clock, publisher, counters = Clock(), FakePublisher(), Counter[str]()
    drops = Drops(counters, publisher, clock)
    for _ in range(5):
        drops.drop("rate_limit", "192.0.2.1")
    drops.drop("no_via", "192.0.2.1")
    drops.tell()
    assert publisher.events == []
    clock.now += 1.0
    drops.tell()
    drops.tell()
    (event,) = publisher.events
    assert (event.source, event.reason, event.count) == ("192.0.2.1", "rate_limit", 5)
    assert counters == {"dropped_rate_limit": 5, "dropped_no_via": 1}


def test_a_head_over_the_limits_is_not_scanned() -> None:
    assert scan(b"A b SIP/2.0" + b"\r\nX: y" * MAX_HEADERS + b"\r\n\r\n") is not None
    assert scan(b"A b SIP/2.0" + b"\r\nX: y" * (MAX_HEADERS + 1) + b"\r\n\r\n") is None
    assert scan(b"A b SIP/2.0\r\nX: " + b"y" * MAX_LINE + b"\r\n\r\n") is None


def test_commas_in_quotes_and_brackets_part_nothing() -> None:
    text = b'"a, \\" b" <sip:a,b> , c,"d,'
    spans = [text[start:end] for start, end in split_items(text, 0, len(text))]
    assert spans == [b'"a, \\" b" <sip:a,b>', b"c", b'"d,']


def test_settings_come_from_the_environment() -> None:
    config = ProxyConfig.from_env({
        "TANDEM_SIP_LISTEN": "0.0.0.0:5060,[::]:5060",
        "TANDEM_APPSERVERS": "udp:10.0.0.9:7000",
        "TANDEM_RATE_LIMIT": "50",
    })  # fmt: skip
    assert [str(item) for item in config.sip_listen] == ["0.0.0.0:5060", "[::]:5060"]
    assert config.rate_limit == 50.0
    assert appserver_address(config.appservers[0]) == "10.0.0.9:7000"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"TANDEM_APPSERVERS": "udp:10.0.0.9:7000", "TANDEM_SIP_LISTEN": "localhost:5060"},
        {"TANDEM_APPSERVERS": "udp:10.0.0.9:7000", "TANDEM_TLS_LISTEN": "0.0.0.0:5061"},
        {"TANDEM_APPSERVERS": "udp:10.0.0.9:7000", "TANDEM_TLS_CERT": "cert.pem"},
        {"TANDEM_APPSERVERS": "udp:10.0.0.9:7000", "TANDEM_PUBLIC_ADDRESS": "sip.example"},
        {"TANDEM_APPSERVERS": "udp:10.0.0.9:7000", "TANDEM_RATE_LIMIT": "-1"},
    ],
)
def test_a_wrong_setting_is_one_line(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        ProxyConfig.from_env(settings)
    assert "\n" not in str(caught.value)
