"""Answers to REGISTER, the memory of those given, and the events that say why one was refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.appserver.domain.authentication import Source
from services.appserver.domain.recent import Recent
from services.appserver.domain.registration import Rejected
from services.appserver.handlers.tools import Tools
from tandem.bus.location import Binding
from tandem.bus.phone_events import RegistrationFailed
from tandem.bus.ports import Topic
from tandem.rpc.directory import Account
from tandem.sip.build import response_to
from tandem.sip.message import Request

ANSWER_SECONDS: Final = 32.0
"""64*T1: as long as a client may send a REGISTER again (RFC 3261 §17.1.2.2)."""
MAX_ANSWERS: Final = 20_000
"""In each generation, about 800 bytes each; at more than 600 REGISTERs a second the memory is
shorter than ANSWER_SECONDS, and a late repetition is judged by its CSeq."""
QUIET_SECONDS: Final = 60.0
"""A client that goes on although it is refused makes one event in this time."""

ECHO_PATH: Final = 1
_STATUS: Final = len("SIP/2.0 ")
_ZERO: Final = ord("0")
OUTBOUND: Final = 2


@dataclass(frozen=True, slots=True)
class Arrival:
    """A REGISTER on its way through the registrar."""

    request: Request
    data: bytes
    """As it came: what comes again is known by it."""
    peer: str
    """The proxy that brought it."""
    now: float
    """When it came, on the steady clock."""


class RegisterAnswers:
    """Sends answers, and again when the same datagram comes again."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._answers: Recent[int, bytes] = Recent(ANSWER_SECONDS, MAX_ANSWERS)
        self._told: Recent[str, bool] = Recent(QUIET_SECONDS, MAX_ANSWERS)
        self._waiting: set[int] = set()
        self._server = f"Server: {tools.config.server_name}"

    def repeat(self, data: bytes, peer: str, now: float) -> bool:
        """Whether this very datagram came before; its answer, if it has one, goes out again."""
        name = hash(data)
        answer = self._answers.get(name, now)
        if answer is None:
            return name in self._waiting
        self._tools.counters.repeated += 1
        self._tools.send_outside(answer, peer)
        return True

    def wait(self, arrival: Arrival) -> None:
        """The answer comes later: repetitions until then are dropped."""
        self._waiting.add(hash(arrival.data))

    def resume(self, arrival: Arrival) -> None:
        """The wait is over."""
        self._waiting.discard(hash(arrival.data))

    # -- sending -------------------------------------------------------------------------------

    def refuse(self, arrival: Arrival, rejected: Rejected, *, keep: bool = True) -> None:
        """Send a failure; `keep` it for repetitions unless asking again may help."""
        headers = (*rejected.headers, self._server)
        response = response_to(
            arrival.request,
            rejected.status,
            rejected.reason,
            tag=self._tools.new_token(),
            headers=headers,
        )
        if keep:
            self.send(arrival.data, arrival.peer, arrival.now, response.to_bytes())
        else:
            self._tools.answers[rejected.status // 100] += 1
            self._tools.send_outside(response.to_bytes(), arrival.peer)

    def accept(
        self, arrival: Arrival, present: tuple[Binding, ...], flags: int, wall: float
    ) -> None:
        """§10.3 step 8: "The response MUST contain Contact header field values enumerating all
        current bindings. Each ... MUST feature an expires parameter"."""
        request = arrival.request
        index, lines = request.index, request.lines
        out = ["SIP/2.0 200 OK"]
        out += [lines[n] for n in index["via"]]
        out.append(lines[index["from"][0]])
        to = lines[index["to"][0]]
        out.append(to if ";tag=" in to else f"{to};tag={self._tools.new_token()}")
        out.append(lines[index["call-id"][0]])
        out.append(lines[index["cseq"][0]])
        out += [contact_line(binding, wall) for binding in present]
        if flags & ECHO_PATH:
            out += request.raw_lines("path")
        if flags & OUTBOUND:
            out.append("Require: outbound")
        out += (_SUPPORTED, self._server, "Content-Length: 0", "", "")
        answer = "\r\n".join(out).encode("utf-8", "surrogateescape")
        self.send(arrival.data, arrival.peer, arrival.now, answer)

    def send(self, data: bytes, peer: str, now: float, answer: bytes) -> None:
        """Send, and keep for when `data` comes again."""
        self._answers.put(hash(data), answer, now)
        self._tools.answers[answer[_STATUS] - _ZERO] += 1
        self._tools.send_outside(answer, peer)

    # -- telling -------------------------------------------------------------------------------

    def tell(
        self, arrival: Arrival, source: Source, status: int, reason: str, *, steady: bool = False
    ) -> None:
        """Say why to the account's owner (to administrators, if there is no such account).
        `steady`: the state lasts, once in QUIET_SECONDS is enough."""
        self._tools.counters.refused += 1
        to = arrival.request.to.uri
        aor = f"{to.unescaped_user}@{to.host}"
        name = f"{aor} {source.host} {status}"
        if steady:
            if self._told.get(name, arrival.now):
                return
            self._told.put(name, True, arrival.now)
        event = RegistrationFailed(
            owners=self._owners(arrival),
            aor=aor,
            source=source.text,
            status=status,
            reason=reason,
        )
        self._tools.publisher.publish(Topic.EVENTS, event)

    def _owners(self, arrival: Arrival) -> tuple[str, ...]:
        to = arrival.request.to.uri
        domain = self._tools.domains.serviced(to.host, to.port)
        if domain is None:
            return ()
        account = self._tools.accounts.get(to.unescaped_user, domain, arrival.now)
        return (account.owner,) if isinstance(account, Account) else ()


_SUPPORTED: Final = "Supported: path, outbound"


def contact_line(binding: Binding, wall: float) -> str:
    """A binding as a 200 lists it."""
    line = f"Contact: <{binding.contact}>;expires={max(0, round(binding.expires_at - wall))}"
    if binding.q != 1.0:
        line += f";q={binding.q:g}"
    if binding.instance:
        line += f';+sip.instance="{binding.instance}"'
        if binding.reg_id:
            line += f";reg-id={binding.reg_id}"
    return line
