"""The transaction layer: matching, CANCEL, ACK, limits; and two layers joined by a bad network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest

from tandem.sip.message import Request, Response
from tandem.sip.transaction import (
    ClientTransaction,
    Hop,
    ServerTransaction,
    State,
    TransactionLayer,
)
from tests.support.transactions import (
    RELIABLE,
    UNRELIABLE,
    Bench,
    Network,
    Recorder,
    Weather,
    answer,
    request,
    tokens,
)


def sent_request(bench: Bench) -> Request:
    message = bench.sent_last
    assert isinstance(message, Request)
    return message


def sent_response(bench: Bench) -> Response:
    message = bench.sent_last
    assert isinstance(message, Response)
    return message


# -- matching --------------------------------------------------------------------------------------


def test_a_request_gets_our_via_and_its_response_finds_the_way_back() -> None:
    bench = Bench()
    context = object()
    tx = bench.layer.request(request("OPTIONS", branch=None), UNRELIABLE, 0.0, context)
    sent = sent_request(bench)
    assert str(sent.via) == "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKt1"
    assert sent.lines[0].startswith("Via:")
    bench.receive(answer(sent, 200))
    assert bench.user.responses == [(tx, 200)]
    assert tx.context is context


def test_a_response_of_another_branch_or_method_is_a_stray() -> None:
    bench = Bench()
    bench.layer.request(request("OPTIONS", branch=None), UNRELIABLE, 0.0)
    bench.receive(answer(request("OPTIONS", branch="z9hG4bKother"), 200))
    bench.receive(answer(request("INVITE", branch="z9hG4bKt1"), 200))
    assert len(bench.user.strays) == 2
    assert bench.user.responses == []


def test_a_repeated_request_reaches_the_user_once_and_gets_the_last_answer_again() -> None:
    bench = Bench()
    for _ in range(3):
        bench.receive(request())
    assert len(bench.user.requests) == 1
    bench.layer.reply(bench.user.requests[0], 180, 0.0)
    bench.receive(request())
    assert bench.times(180) == [0.0, 0.0]


@pytest.mark.parametrize(
    "other",
    [
        request(branch="z9hG4bK2"),
        request("OPTIONS"),
        Request(
            "INVITE",
            "sip:bob@example.test",
            ["Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK1", *request().lines[1:]],
        ),
    ],
    ids=["branch", "method", "sent-by"],
)
def test_branch_method_and_sent_by_make_another_transaction(other: Request) -> None:
    bench = Bench()
    bench.receive(request())
    bench.receive(other)
    assert len(bench.user.requests) == 2


def test_sent_by_is_compared_without_regard_to_case() -> None:
    bench = Bench()
    for host in ("Phone.Example", "phone.example"):
        lines = [f"Via: SIP/2.0/UDP {host};branch=z9hG4bK1", *request().lines[1:]]
        bench.receive(Request("INVITE", "sip:bob@example.test", lines))
    assert len(bench.user.requests) == 1


@pytest.mark.parametrize("branch", ["", "1"])
def test_rfc_2543_requests_match_by_what_they_have(branch: str) -> None:
    bench = Bench()
    bench.receive(request(branch=branch))
    bench.receive(request(branch=branch))
    assert len(bench.user.requests) == 1
    bench.receive(request(branch=branch, number=2))
    bench.receive(request(branch=branch, call_id="other@test"))
    assert len(bench.user.requests) == 3


def test_rfc_2543_ack_and_cancel_find_their_invite() -> None:
    bench = Bench()
    bench.receive(request(branch=""))
    tx = bench.user.requests[0]
    bench.receive(request("CANCEL", branch=""))
    assert bench.user.cancelled == [tx]
    bench.layer.reply(tx, 487, 0.0)
    bench.receive(request("ACK", branch=""))
    assert tx.state is State.CONFIRMED
    assert bench.user.acks == []


def test_rfc_2543_requests_to_other_uris_are_other_transactions() -> None:
    bench = Bench()
    bench.receive(request("OPTIONS", branch=""))
    bench.receive(request("OPTIONS", branch="").with_uri("sip:carol@example.test"))
    assert len(bench.user.requests) == 2


# -- answers ---------------------------------------------------------------------------------------


def test_local_answers_carry_one_to_tag_and_100_none() -> None:
    bench = Bench()
    bench.receive(request())
    tx = bench.user.requests[0]
    tags = []
    for status in (100, 180, 486):
        bench.layer.reply(tx, status, 0.0)
        tags.append(sent_response(bench).to.tag)
    assert tags == [None, tx.tag, tx.tag]
    assert tx.tag


def test_a_reply_has_the_reason_and_headers_that_it_is_given() -> None:
    bench = Bench()
    bench.receive(request("OPTIONS"))
    bench.layer.reply(bench.user.requests[0], 503, 0.0, "Busy now", ("Retry-After: 7",))
    assert sent_response(bench).reason == "Busy now"
    assert sent_response(bench).first("retry-after") == "7"


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_an_answer_after_the_final_one_is_thrown_away(method: str) -> None:
    bench = Bench()
    bench.receive(request(method))
    tx = bench.user.requests[0]
    for status in (486, 200, 180, 500):
        bench.layer.reply(tx, status, 0.0)
    assert [m.status for _, m in bench.sent if isinstance(m, Response)] == [486]


def test_a_2xx_is_repeated_until_the_user_says_that_it_is_acknowledged() -> None:
    bench = Bench()
    bench.receive(request())
    tx = bench.user.requests[0]
    bench.layer.reply(tx, 200, 0.0)
    bench.until(4.0)
    bench.receive(request("ACK", branch="z9hG4bKack"))
    assert [ack.method for ack in bench.user.acks] == ["ACK"]
    bench.layer.acknowledged(tx, bench.now)
    bench.layer.acknowledged(tx, bench.now)
    bench.until(200.0)
    assert bench.times(200) == [0.0, 0.5, 1.5, 3.5]
    assert bench.user.unacknowledged == []
    bench.layer.acknowledged(tx, bench.now)
    assert len(bench.layer) == 0


def test_a_2xx_that_is_never_acknowledged_is_told_to_the_user() -> None:
    bench = Bench()
    bench.receive(request(), RELIABLE)
    bench.layer.reply(bench.user.requests[0], 200, 0.0)
    bench.until(200.0)
    assert bench.user.unacknowledged == bench.user.requests
    assert len(bench.times(200)) == 11


def test_an_ack_of_a_2xx_with_the_branch_of_the_invite_reaches_the_user() -> None:
    bench = Bench()
    bench.receive(request())
    bench.layer.reply(bench.user.requests[0], 200, 0.0)
    bench.receive(request("ACK"))
    assert len(bench.user.acks) == 1


def test_an_ack_of_a_refusal_ends_its_repetition_and_does_not_reach_the_user() -> None:
    bench = Bench()
    bench.receive(request())
    bench.layer.reply(bench.user.requests[0], 486, 0.0)
    bench.until(2.0)
    bench.receive(request("ACK"))
    bench.until(200.0)
    assert bench.times(486) == [0.0, 0.5, 1.5]
    assert bench.user.acks == []
    assert len(bench.layer) == len(bench.deadlines) == 0


def test_a_request_that_is_never_answered_is_forgotten() -> None:
    bench = Bench()
    bench.receive(request("OPTIONS"))
    bench.receive(request("MESSAGE", branch="z9hG4bK2"))
    bench.layer.reply(bench.user.requests[1], 100, 0.0)
    bench.until(36.9)
    assert len(bench.layer) == 2
    bench.until(37.0)
    assert len(bench.layer) == len(bench.deadlines) == 0
    bench.layer.reply(bench.user.requests[0], 200, bench.now)
    assert bench.times(200) == []


def test_an_invite_waits_for_its_user_as_long_as_it_takes() -> None:
    bench = Bench()
    bench.receive(request())
    bench.until(10_000.0)
    bench.layer.reply(bench.user.requests[0], 200, bench.now)
    assert bench.times(200) == [10_000.0]


def test_a_request_beyond_the_limit_gets_503_without_a_transaction() -> None:
    bench = Bench(max_transactions=2)
    for number in range(3):
        bench.receive(request("OPTIONS", branch=f"z9hG4bK{number}"))
    assert len(bench.user.requests) == 2
    assert len(bench.layer) == 2
    assert sent_response(bench).status == 503
    assert sent_response(bench).to.tag
    assert sent_response(bench).first("retry-after") == "5"


def test_a_cancel_is_taken_beyond_the_limit_for_an_invite_that_is_known() -> None:
    bench = Bench(max_transactions=1)
    bench.receive(request())
    bench.receive(request("CANCEL", branch="z9hG4bKunknown"))
    assert sent_response(bench).status == 503
    bench.receive(request("CANCEL"))
    assert sent_response(bench).status == 200
    assert bench.user.cancelled == bench.user.requests


# -- our ACK ---------------------------------------------------------------------------------------


def test_the_ack_of_a_refusal_has_the_branch_and_route_of_its_invite() -> None:
    bench = Bench()
    route = "Route: <sip:one.test;lr>, <sip:two.test;lr>"
    bench.layer.request(request("INVITE", route, branch=None, number=7), UNRELIABLE, 0.0)
    invite = sent_request(bench)
    bench.receive(answer(invite, 486, tag="far"))
    ack = sent_request(bench)
    assert ack.method == "ACK"
    assert ack.raw_lines("via") == invite.raw_lines("via")
    assert ack.raw_lines("route") == [route]
    assert str(ack.cseq) == "7 ACK"
    assert ack.uri == invite.uri
    assert ack.first("from") == invite.first("from")
    assert ack.call_id == invite.call_id
    assert ack.to.tag == "far"
    assert ack.body == b""


def test_a_repeated_refusal_gets_its_ack_again_and_the_user_hears_it_once() -> None:
    bench = Bench()
    bench.layer.request(request(branch=None), UNRELIABLE, 0.0)
    refusal = answer(sent_request(bench), 486)
    for _ in range(3):
        bench.receive(refusal)
    assert len(bench.times("ACK")) == 3
    assert bench.user.statuses == [486]


def test_every_2xx_reaches_the_user_who_acknowledges_by_itself() -> None:
    bench = Bench()
    bench.layer.request(request(branch=None), UNRELIABLE, 0.0)
    invite = sent_request(bench)
    for tag in ("one", "one", "two"):
        bench.receive(answer(invite, 200, tag=tag))
    assert bench.user.statuses == [200, 200, 200]
    assert bench.times("ACK") == []
    data = bench.layer.send_ack(request("ACK", branch=None), UNRELIABLE)
    assert sent_request(bench).to_bytes() == data
    assert sent_request(bench).via.branch != invite.via.branch
    assert len(bench.layer) == 1


# -- CANCEL ----------------------------------------------------------------------------------------


def test_a_cancel_waits_for_the_first_provisional() -> None:
    bench = Bench()
    tx = bench.layer.request(
        request("INVITE", "Route: <sip:one.test;lr>", branch=None), UNRELIABLE, 0.0
    )
    invite = sent_request(bench)
    bench.layer.cancel(tx, 0.0)
    bench.layer.cancel(tx, 0.0)
    assert bench.times("CANCEL") == []
    bench.receive(answer(invite, 100))
    bench.receive(answer(invite, 180))
    cancel = sent_request(bench)
    assert bench.times("CANCEL") == [0.0]
    assert cancel.raw_lines("via") == invite.raw_lines("via")
    assert cancel.raw_lines("route", "from", "to") == invite.raw_lines("route", "from", "to")
    assert str(cancel.cseq) == "1 CANCEL"
    assert cancel.uri == invite.uri


def test_a_cancel_after_a_provisional_leaves_at_once_and_its_answer_is_ours() -> None:
    bench = Bench()
    tx = bench.layer.request(request(branch=None), UNRELIABLE, 0.0)
    invite = sent_request(bench)
    bench.receive(answer(invite, 180))
    bench.layer.cancel(tx, 0.0)
    bench.receive(answer(sent_request(bench), 200))
    bench.receive(answer(invite, 487))
    assert bench.user.statuses == [180, 487]
    bench.until(200.0)
    assert bench.times("CANCEL") == [0.0]
    assert len(bench.layer) == len(bench.deadlines) == 0


def test_an_invite_whose_cancel_brings_nothing_fails_64_t1_later() -> None:
    bench = Bench()
    tx = bench.layer.request(request(branch=None), UNRELIABLE, 0.0)
    bench.receive(answer(sent_request(bench), 180))
    bench.until(100.0)
    bench.layer.cancel(tx, 100.0)
    bench.until(131.9)
    assert bench.user.failures == []
    bench.until(132.0)
    assert bench.user.failures == [(tx, 408)]
    assert len(bench.layer) == len(bench.deadlines) == 0


def test_a_cancel_that_is_never_needed_is_not_sent() -> None:
    bench = Bench()
    tx = bench.layer.request(request(branch=None), UNRELIABLE, 0.0)
    invite = sent_request(bench)
    bench.layer.cancel(tx, 0.0)
    bench.receive(answer(invite, 200))
    assert bench.user.statuses == [200]
    bench.layer.cancel(tx, 0.0)
    bench.until(200.0)
    assert bench.times("CANCEL") == []


def test_a_cancel_that_races_with_the_200_loses() -> None:
    bench = Bench()
    tx = bench.layer.request(request(branch=None), UNRELIABLE, 0.0)
    invite = sent_request(bench)
    bench.receive(answer(invite, 180))
    bench.layer.cancel(tx, 0.0)
    bench.receive(answer(invite, 200))
    bench.receive(answer(bench.sent[1][1], 200))  # type: ignore[arg-type]  # the CANCEL
    assert bench.user.statuses == [180, 200]
    assert tx.cancelled
    bench.until(200.0)
    assert bench.user.failures == []


def test_cancelling_an_invite_twice_under_one_provisional_sends_one_cancel() -> None:
    bench = Bench()
    tx = bench.layer.request(request(branch=None), UNRELIABLE, 0.0)
    bench.receive(answer(sent_request(bench), 180))
    bench.layer.cancel(tx, 0.0)
    bench.layer.send_due_cancel(tx, 0.0)
    assert bench.times("CANCEL") == [0.0]


def test_a_received_cancel_gets_200_with_the_tag_of_the_invite() -> None:
    bench = Bench()
    bench.receive(request())
    tx = bench.user.requests[0]
    bench.receive(request("CANCEL"))
    ok = sent_response(bench)
    assert (ok.status, ok.cseq.method) == (200, "CANCEL")
    assert bench.user.cancelled == [tx]
    bench.layer.reply(tx, 487, 0.0)
    assert sent_response(bench).to.tag == ok.to.tag


def test_a_repeated_cancel_reaches_the_user_once() -> None:
    bench = Bench()
    bench.receive(request())
    bench.receive(request("CANCEL"))
    bench.receive(request("CANCEL"))
    assert len(bench.user.cancelled) == 1
    assert bench.times(200) == [0.0, 0.0]


def test_a_cancel_of_nothing_gets_481() -> None:
    bench = Bench()
    bench.receive(request("CANCEL"))
    assert sent_response(bench).status == 481
    assert sent_response(bench).to.tag
    assert bench.user.requests == []


def test_a_cancel_after_our_200_gets_200_and_changes_nothing() -> None:
    bench = Bench()
    bench.receive(request())
    bench.layer.reply(bench.user.requests[0], 200, 0.0)
    bench.receive(request("CANCEL"))
    assert sent_response(bench).cseq.method == "CANCEL"
    assert sent_response(bench).status == 200
    assert bench.user.cancelled == []


def test_a_failure_to_reach_anybody_is_408() -> None:
    bench = Bench()
    tx = bench.layer.request(request("OPTIONS", branch=None), RELIABLE, 0.0)
    bench.until(32.0)
    assert bench.user.failures == [(tx, 408)]


def test_a_cancel_that_is_never_answered_is_not_told_to_the_user() -> None:
    bench = Bench()
    tx = bench.layer.request(request(branch=None), UNRELIABLE, 0.0)
    invite = sent_request(bench)
    bench.receive(answer(invite, 180))
    bench.layer.cancel(tx, 0.0)
    bench.until(10.0)
    bench.receive(answer(invite, 487))
    bench.until(200.0)
    assert bench.user.failures == []
    assert len(bench.times("CANCEL")) == 11


# -- two layers and a bad network ------------------------------------------------------------------


@dataclass
class Caller(Recorder):
    """Counts the outcome of each of its requests, and ACKs each 2xx."""

    layer: TransactionLayer | None = None
    outcomes: Counter[str] = field(default_factory=Counter)

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        if response.status < 200:
            return
        repeated = response.status < 300 and tx.context["done"] and tx.invite
        if not repeated:
            self.outcomes[tx.request.call_id] += 1
        tx.context["done"] = True
        if tx.invite and response.status < 300:
            self._acknowledge(tx.request)

    def on_client_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        self.outcomes[tx.request.call_id] += 1

    def on_stray_response(self, response: Response, hop: Hop, now: float) -> None:
        if response.cseq.method == "INVITE" and 200 <= response.status < 300:
            self._acknowledge(response)

    def _acknowledge(self, message: Request | Response) -> None:
        assert self.layer is not None
        ack = request("ACK", branch=None, number=message.cseq.number, call_id=message.call_id)
        self.layer.send_ack(ack, Hop("callee", reliable=False))


@dataclass
class Callee(Recorder):
    """Answers after a while: every third request is refused, the others get a 200."""

    layer: TransactionLayer | None = None
    network: Network | None = None
    seen: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    open: dict[str, ServerTransaction] = field(default_factory=dict)

    def on_request(self, tx: ServerTransaction, now: float) -> None:
        assert self.layer is not None
        assert self.network is not None
        self.seen[tx.request.call_id] += 1
        if tx.invite:
            self.layer.reply(tx, 180, now)
        self.network.deadlines.at(now + 0.8, lambda now: self._answer(tx, now))

    def _answer(self, tx: ServerTransaction, now: float) -> None:
        assert self.layer is not None
        call_id = tx.request.call_id
        refused = int(call_id.partition("@")[0]) % 3 == 0
        if tx.invite and not refused:
            self.open[call_id] = tx
        self.ended[call_id] += 0 if call_id in self.open else 1
        self.layer.reply(tx, 486 if refused else 200, now)

    def on_ack(self, ack: Request, hop: Hop, now: float) -> None:
        assert self.layer is not None
        tx = self.open.pop(ack.call_id, None)
        if tx is not None:
            self.ended[ack.call_id] += 1
            self.layer.acknowledged(tx, now)

    def on_server_timeout(self, tx: ServerTransaction, now: float) -> None:
        if self.open.pop(tx.request.call_id, None) is not None:
            self.ended[tx.request.call_id] += 1


WEATHERS = {
    "calm": Weather(),
    "loss": Weather(loss=0.3),
    "duplication": Weather(duplication=0.7),
    "reordering": Weather(min_delay=0.001, max_delay=1.5),
    "storm": Weather(loss=0.35, duplication=0.3, min_delay=0.001, max_delay=2.0),
    "night": Weather(loss=1.0),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", WEATHERS)
def test_each_request_has_one_outcome_at_each_side_in_any_weather(name: str, seed: int) -> None:
    network = Network(WEATHERS[name], seed)
    caller, callee = Caller(), Callee(network=network)
    for end, user in (("caller", caller), ("callee", callee)):
        user.layer = TransactionLayer(
            network.sender(end),
            user,
            network.deadlines,
            sent_by=f"{end}.test:5060",
            new_token=tokens(end),
        )
        network.join(end, user.layer)
    assert caller.layer is not None
    call_ids = [f"{number}@test" for number in range(60)]
    for number, call_id in enumerate(call_ids):
        method = "INVITE" if number % 2 else "MESSAGE"
        message = request(method, branch=None, call_id=call_id)
        caller.layer.request(message, Hop("callee", reliable=False), network.now, {"done": False})
    network.until(200.0)
    assert caller.outcomes == Counter(call_ids)
    assert set(callee.seen.values()) <= {1}
    assert callee.ended == callee.seen
    if name != "night":
        assert len(callee.seen) > 50
    assert len(caller.layer) == len(callee.layer or ()) == len(network.deadlines) == 0
    assert callee.open == {}


@pytest.mark.parametrize("seed", range(30))
def test_a_cancel_that_races_with_the_answer_ends_in_one_outcome(seed: int) -> None:
    weather = Weather(loss=0.2, duplication=0.2, min_delay=0.001, max_delay=0.6)
    network = Network(weather, seed)
    caller, callee = Caller(), Callee(network=network)
    for end, user in (("caller", caller), ("callee", callee)):
        user.layer = TransactionLayer(
            network.sender(end),
            user,
            network.deadlines,
            sent_by=f"{end}.test:5060",
            new_token=tokens(end),
        )
        network.join(end, user.layer)
    layer = caller.layer
    assert layer is not None
    tx = layer.request(
        request(branch=None, call_id="1@test"), Hop("callee", reliable=False), 0.0, {"done": False}
    )
    network.deadlines.at(0.2 + seed / 20, lambda now: layer.cancel(tx, now))
    network.until(200.0)
    assert caller.outcomes == {"1@test": 1}
    assert callee.ended == callee.seen
    assert len(layer) == len(network.deadlines) == 0
