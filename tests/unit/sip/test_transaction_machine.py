"""The four machines: every row of their tables, and every timer to the moment (RFC 3261 §17,
RFC 6026)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import pytest

from tandem.sip.deadlines import Deadlines
from tandem.sip.errors import LocalFault
from tandem.sip.hop import Hop, hop
from tandem.sip.message import Request, Response
from tandem.sip.transaction_machine import (
    INVITE_CLIENT,
    INVITE_SERVER,
    OTHER_CLIENT,
    OTHER_SERVER,
    ClientTransaction,
    Input,
    InviteClientTransaction,
    InviteServerTransaction,
    ServerTransaction,
    State,
    Table,
    Timers,
    Transaction,
)
from tests.support.transactions import RELIABLE, UNRELIABLE, answer, request

T = Timers()


@dataclass
class Notes:
    """A host that notes what a machine does, with the time of each transmission."""

    timers: Timers = T
    deadlines: Deadlines = field(default_factory=Deadlines)
    now: float = 0.0
    done: list[str] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    gone_at: float | None = None
    failed_at: float | None = None

    def transmit(self, tx: Transaction) -> None:
        self.done.append("send")
        self.sent_at.append(self.now)

    def deliver_response(self, tx: Transaction, response: Response, now: float) -> None:
        self.done.append("deliver")

    def deliver_ack(self, tx: Transaction, ack: Request, now: float) -> None:
        self.done.append("deliver ack")

    def fail(self, tx: Transaction, now: float) -> None:
        self.done.append("fail")
        self.failed_at = now

    def acknowledge_failure(self, tx: Transaction, response: Response) -> None:
        self.done.append("ack")

    def send_due_cancel(self, tx: Transaction, now: float) -> None:
        self.done.append("cancel if due")

    def forget(self, tx: Transaction) -> None:
        self.gone_at = self.now

    def until(self, when: float) -> None:
        while (due := self.deadlines.next()) is not None and due <= when:
            self.now = due
            self.deadlines.run(due)
        self.now = when


def machine(kind: type[Transaction], host: Notes, hop: Hop = UNRELIABLE) -> Transaction:
    if issubclass(kind, ClientTransaction):
        return kind(host, ("k",), hop, _request(kind), None, host.now)
    assert issubclass(kind, ServerTransaction)
    return kind(host, ("k",), hop, _request(kind))


def _request(kind: type[Transaction]) -> Request:
    invite = kind in (InviteClientTransaction, InviteServerTransaction)
    return request("INVITE" if invite else "OPTIONS")


def message_for(what: Input) -> Request | Response | None:
    status = {Input.PROVISIONAL: 180, Input.SUCCESS: 200, Input.FAILURE: 486}.get(what)
    if status is not None:
        return answer(request(), status)
    method = {Input.REQUEST: "INVITE", Input.ACK: "ACK"}.get(what)
    return request(method) if method else None


# -- every row -------------------------------------------------------------------------------------

# What the RFCs ask for, told a second time: machine, state, input, next state, what is done.
ROWS: Final = """
INVITE_CLIENT CALLING    RETRANSMIT   CALLING    send
INVITE_CLIENT CALLING    PROVISIONAL  PROCEEDING cancel if due, deliver
INVITE_CLIENT CALLING    SUCCESS      ACCEPTED   deliver
INVITE_CLIENT CALLING    FAILURE      COMPLETED  ack, deliver
INVITE_CLIENT CALLING    END          TERMINATED fail
INVITE_CLIENT PROCEEDING PROVISIONAL  PROCEEDING deliver
INVITE_CLIENT PROCEEDING SUCCESS      ACCEPTED   deliver
INVITE_CLIENT PROCEEDING FAILURE      COMPLETED  ack, deliver
INVITE_CLIENT PROCEEDING END          TERMINATED fail
INVITE_CLIENT ACCEPTED   PROVISIONAL  ACCEPTED
INVITE_CLIENT ACCEPTED   SUCCESS      ACCEPTED   deliver
INVITE_CLIENT ACCEPTED   FAILURE      ACCEPTED
INVITE_CLIENT ACCEPTED   END          TERMINATED
INVITE_CLIENT COMPLETED  PROVISIONAL  COMPLETED
INVITE_CLIENT COMPLETED  SUCCESS      COMPLETED  deliver
INVITE_CLIENT COMPLETED  FAILURE      COMPLETED  ack
INVITE_CLIENT COMPLETED  END          TERMINATED
OTHER_CLIENT  TRYING     RETRANSMIT   TRYING     send
OTHER_CLIENT  TRYING     PROVISIONAL  PROCEEDING deliver
OTHER_CLIENT  TRYING     SUCCESS      COMPLETED  deliver
OTHER_CLIENT  TRYING     FAILURE      COMPLETED  deliver
OTHER_CLIENT  TRYING     END          TERMINATED fail
OTHER_CLIENT  PROCEEDING RETRANSMIT   PROCEEDING send
OTHER_CLIENT  PROCEEDING PROVISIONAL  PROCEEDING deliver
OTHER_CLIENT  PROCEEDING SUCCESS      COMPLETED  deliver
OTHER_CLIENT  PROCEEDING FAILURE      COMPLETED  deliver
OTHER_CLIENT  PROCEEDING END          TERMINATED fail
OTHER_CLIENT  COMPLETED  PROVISIONAL  COMPLETED
OTHER_CLIENT  COMPLETED  SUCCESS      COMPLETED
OTHER_CLIENT  COMPLETED  FAILURE      COMPLETED
OTHER_CLIENT  COMPLETED  END          TERMINATED
INVITE_SERVER PROCEEDING REQUEST      PROCEEDING send
INVITE_SERVER PROCEEDING PROVISIONAL  PROCEEDING send
INVITE_SERVER PROCEEDING SUCCESS      ACCEPTED   send
INVITE_SERVER PROCEEDING FAILURE      COMPLETED  send
INVITE_SERVER PROCEEDING ACK          PROCEEDING
INVITE_SERVER ACCEPTED   REQUEST      ACCEPTED
INVITE_SERVER ACCEPTED   PROVISIONAL  ACCEPTED
INVITE_SERVER ACCEPTED   SUCCESS      ACCEPTED   send
INVITE_SERVER ACCEPTED   RETRANSMIT   ACCEPTED   send
INVITE_SERVER ACCEPTED   ACK          ACCEPTED   deliver ack
INVITE_SERVER ACCEPTED   ACKNOWLEDGED CONFIRMED
INVITE_SERVER ACCEPTED   END          TERMINATED fail
INVITE_SERVER COMPLETED  REQUEST      COMPLETED  send
INVITE_SERVER COMPLETED  RETRANSMIT   COMPLETED  send
INVITE_SERVER COMPLETED  ACK          CONFIRMED
INVITE_SERVER COMPLETED  END          TERMINATED fail
INVITE_SERVER CONFIRMED  REQUEST      CONFIRMED
INVITE_SERVER CONFIRMED  ACK          CONFIRMED
INVITE_SERVER CONFIRMED  ACKNOWLEDGED CONFIRMED
INVITE_SERVER CONFIRMED  END          TERMINATED
OTHER_SERVER  TRYING     REQUEST      TRYING
OTHER_SERVER  TRYING     PROVISIONAL  PROCEEDING send
OTHER_SERVER  TRYING     SUCCESS      COMPLETED  send
OTHER_SERVER  TRYING     FAILURE      COMPLETED  send
OTHER_SERVER  TRYING     END          TERMINATED
OTHER_SERVER  PROCEEDING REQUEST      PROCEEDING send
OTHER_SERVER  PROCEEDING PROVISIONAL  PROCEEDING send
OTHER_SERVER  PROCEEDING SUCCESS      COMPLETED  send
OTHER_SERVER  PROCEEDING FAILURE      COMPLETED  send
OTHER_SERVER  PROCEEDING END          TERMINATED
OTHER_SERVER  COMPLETED  REQUEST      COMPLETED  send
OTHER_SERVER  COMPLETED  PROVISIONAL  COMPLETED
OTHER_SERVER  COMPLETED  SUCCESS      COMPLETED
OTHER_SERVER  COMPLETED  FAILURE      COMPLETED
OTHER_SERVER  COMPLETED  END          TERMINATED
"""

MACHINES: Final[dict[str, tuple[type[Transaction], Table]]] = {
    "INVITE_CLIENT": (InviteClientTransaction, INVITE_CLIENT),
    "OTHER_CLIENT": (ClientTransaction, OTHER_CLIENT),
    "INVITE_SERVER": (InviteServerTransaction, INVITE_SERVER),
    "OTHER_SERVER": (ServerTransaction, OTHER_SERVER),
}

Row = tuple[str, State, Input, State, list[str]]


def parse_row(line: str) -> Row:
    name, state, what, following, *done = line.split(maxsplit=4)
    actions = done[0].split(", ") if done else []
    return name, State[state], Input[what], State[following], actions


PARSED: Final = [parse_row(line) for line in ROWS.strip().splitlines()]


@pytest.mark.parametrize("row", PARSED, ids=lambda row: f"{row[0]}-{row[1].name}-{row[2].name}")
def test_each_row_leads_to_its_state_and_does_its_actions(row: Row) -> None:
    name, state, what, following, done = row
    host = Notes()
    tx = machine(MACHINES[name][0], host)
    tx.state = state
    tx.last = b"something to repeat" if state is not State.TRYING else b""
    if isinstance(tx, ClientTransaction):
        tx.last = b"the request"
    tx.feed(what, message_for(what), 0.0)
    assert tx.state is following
    assert host.done == done
    assert (host.gone_at is not None) == (following is State.TERMINATED)


def test_no_row_is_missing_and_none_is_untested() -> None:
    told = {(name, state, what) for name, state, what, _, _ in PARSED}
    built = {(name, *key) for name, (_, table) in MACHINES.items() for key in table}
    assert told == built
    assert len(told) == len(PARSED)


@pytest.mark.parametrize("name", MACHINES)
def test_what_a_remote_side_can_send_has_a_row_in_every_state(name: str) -> None:
    table = MACHINES[name][1]
    remote = {
        "INVITE_CLIENT": (Input.PROVISIONAL, Input.SUCCESS, Input.FAILURE),
        "OTHER_CLIENT": (Input.PROVISIONAL, Input.SUCCESS, Input.FAILURE),
        "INVITE_SERVER": (Input.REQUEST, Input.ACK),
        "OTHER_SERVER": (Input.REQUEST,),
    }[name]
    states = {state for state, _ in table}
    assert State.TERMINATED not in states
    assert [(s, i) for s in states for i in remote if (s, i) not in table] == []


def test_an_input_without_a_row_is_a_fault_of_ours() -> None:
    tx = machine(InviteClientTransaction, Notes())
    with pytest.raises(LocalFault, match="InviteClientTransaction: no row for ACK in CALLING"):
        tx.feed(Input.ACK, request("ACK"), 0.0)


# -- timers A to M ---------------------------------------------------------------------------------


def test_timers_a_and_b_double_without_bound_and_give_up_after_64_t1() -> None:
    host = Notes()
    machine(InviteClientTransaction, host)
    host.until(200.0)
    assert host.sent_at == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert host.failed_at == host.gone_at == 32.0


@pytest.mark.parametrize("kind", [InviteClientTransaction, ClientTransaction])
def test_nothing_is_repeated_over_a_reliable_transport(kind: type[Transaction]) -> None:
    host = Notes()
    machine(kind, host, RELIABLE)
    host.until(200.0)
    assert host.sent_at == []
    assert host.failed_at == 32.0


def test_a_provisional_ends_timers_a_and_b() -> None:
    host = Notes()
    tx = machine(InviteClientTransaction, host)
    host.until(0.7)
    tx.feed(Input.PROVISIONAL, answer(request(), 180), 0.7)
    host.until(1000.0)
    assert host.sent_at == [0.5]
    assert tx.state is State.PROCEEDING
    assert host.gone_at is None


@pytest.mark.parametrize(("hop", "end"), [(UNRELIABLE, 33.0), (RELIABLE, 1.0)])
def test_timer_d_is_32_seconds_or_none(hop: Hop, end: float) -> None:
    host = Notes()
    tx = machine(InviteClientTransaction, host, hop)
    host.until(1.0)
    tx.feed(Input.FAILURE, answer(request(), 486), 1.0)
    host.until(200.0)
    assert host.gone_at == end
    assert host.failed_at is None


@pytest.mark.parametrize("hop", [UNRELIABLE, RELIABLE])
def test_timer_m_keeps_an_accepted_client_for_64_t1(hop: Hop) -> None:
    host = Notes()
    tx = machine(InviteClientTransaction, host, hop)
    host.until(1.0)
    tx.feed(Input.SUCCESS, answer(request(), 200), 1.0)
    host.until(200.0)
    assert host.gone_at == 33.0
    assert host.failed_at is None


def test_timers_e_and_f_double_up_to_t2_and_give_up_after_64_t1() -> None:
    host = Notes()
    machine(ClientTransaction, host)
    host.until(200.0)
    assert host.sent_at == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert host.failed_at == host.gone_at == 32.0


def test_timer_e_is_t2_once_the_request_proceeds_and_timer_f_goes_on() -> None:
    host = Notes()
    tx = machine(ClientTransaction, host)
    host.until(0.7)
    tx.feed(Input.PROVISIONAL, answer(request(), 100), 0.7)
    host.until(200.0)
    assert host.sent_at == [0.5, 1.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5]
    assert host.failed_at == 32.0


@pytest.mark.parametrize(("hop", "end"), [(UNRELIABLE, 6.0), (RELIABLE, 1.0)])
def test_timer_k_is_t4_or_none(hop: Hop, end: float) -> None:
    host = Notes()
    tx = machine(ClientTransaction, host, hop)
    host.until(1.0)
    tx.feed(Input.SUCCESS, answer(request(), 200), 1.0)
    host.until(200.0)
    assert host.gone_at == end
    assert [when for when in host.sent_at if when > 1.0] == []


def test_timers_g_and_h_repeat_a_refusal_until_64_t1() -> None:
    host = Notes()
    machine(InviteServerTransaction, host).feed(Input.FAILURE, answer(request(), 486), 0.0)
    host.until(200.0)
    assert host.sent_at == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert host.failed_at == host.gone_at == 32.0


def test_timer_g_is_off_over_a_reliable_transport_and_timer_h_is_not() -> None:
    host = Notes()
    machine(InviteServerTransaction, host, RELIABLE).feed(
        Input.FAILURE, answer(request(), 486), 0.0
    )
    host.until(200.0)
    assert host.sent_at == [0.0]
    assert host.failed_at == 32.0


@pytest.mark.parametrize(("hop", "end"), [(UNRELIABLE, 7.0), (RELIABLE, 2.0)])
def test_timer_i_is_t4_or_none(hop: Hop, end: float) -> None:
    host = Notes()
    tx = machine(InviteServerTransaction, host, hop)
    tx.feed(Input.FAILURE, answer(request(), 486), 0.0)
    host.until(2.0)
    tx.feed(Input.ACK, request("ACK"), 2.0)
    host.until(200.0)
    assert host.gone_at == end
    assert host.failed_at is None
    assert [when for when in host.sent_at if when > 2.0] == []


@pytest.mark.parametrize(("hop", "end"), [(UNRELIABLE, 33.0), (RELIABLE, 1.0)])
def test_timer_j_is_64_t1_or_none(hop: Hop, end: float) -> None:
    host = Notes()
    tx = machine(ServerTransaction, host, hop)
    host.until(1.0)
    tx.feed(Input.SUCCESS, answer(request(), 200), 1.0)
    host.until(200.0)
    assert host.gone_at == end
    assert host.sent_at == [1.0]


@pytest.mark.parametrize("hop", [UNRELIABLE, RELIABLE])
def test_timer_l_ends_an_accepted_server_and_its_2xx_is_repeated_till_then(hop: Hop) -> None:
    host = Notes()
    machine(InviteServerTransaction, host, hop).feed(Input.SUCCESS, answer(request(), 200), 0.0)
    host.until(200.0)
    assert host.sent_at == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert host.failed_at == host.gone_at == 32.0


def test_an_acknowledged_2xx_is_silent_but_its_transaction_absorbs_until_timer_l() -> None:
    host = Notes()
    tx = machine(InviteServerTransaction, host)
    tx.feed(Input.SUCCESS, answer(request(), 200), 0.0)
    host.until(1.0)
    tx.feed(Input.ACKNOWLEDGED, None, 1.0)
    host.until(20.0)
    tx.feed(Input.REQUEST, request(), 20.0)
    host.until(200.0)
    assert host.sent_at == [0.0, 0.5]
    assert host.gone_at == 32.0
    assert host.failed_at is None


def test_other_values_of_t1_scale_all_timers() -> None:
    host = Notes(timers=Timers(t1=0.1, t2=0.4, t4=1.0))
    machine(ClientTransaction, host)
    host.until(1.0)
    assert host.sent_at == pytest.approx([0.1, 0.3, 0.7])
    host.until(10.0)
    assert host.failed_at == pytest.approx(6.4)


# -- the heap --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MACHINES)
def test_an_ended_machine_leaves_nothing_in_the_heap(name: str) -> None:
    host = Notes()
    tx = machine(MACHINES[name][0], host, RELIABLE)
    if name == "INVITE_CLIENT":
        tx.feed(Input.FAILURE, answer(request(), 486), 0.0)
    else:
        tx.feed(Input.PROVISIONAL, answer(request(), 180), 0.0)
        tx.feed(Input.FAILURE, answer(request(), 486), 0.0)
    if name == "INVITE_SERVER":
        tx.feed(Input.ACK, request("ACK"), 0.0)
    assert tx.state is State.TERMINATED
    assert len(host.deadlines) == 0


def test_a_machine_has_one_entry_in_the_heap_however_often_its_timers_move() -> None:
    host = Notes()
    tx = machine(ClientTransaction, host)
    for when in (20.0, 10.0, 15.0, 5.0, 7.0):
        tx.end_at(when)
        assert len(host.deadlines) == 1
    host.until(6.9)
    assert tx.state is State.TRYING
    assert len(host.deadlines) == 1
    host.until(7.0)
    assert host.failed_at == 7.0
    assert len(host.deadlines) == 0


def test_giving_up_and_repeating_at_the_same_moment_is_giving_up() -> None:
    host = Notes()
    tx = machine(ClientTransaction, host)
    tx.end_at(0.5)
    host.until(0.5)
    assert host.done == ["fail"]


def test_a_server_that_has_not_answered_has_nothing_to_repeat() -> None:
    host = Notes()
    machine(InviteServerTransaction, host).feed(Input.REQUEST, request(), 0.0)
    assert host.done == []


def test_the_hops_of_many_messages_are_one_value() -> None:
    assert hop("10.0.0.1:5070", True) == Hop("10.0.0.1:5070", True)
    assert hop("10.0.0.1:5070", True) is hop("10.0.0.1:5070", True)
    assert hop("10.0.0.1:5070", True) != hop("10.0.0.1:5070", False)
