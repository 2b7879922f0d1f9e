"""A past call, as the events API shows it (`GET /calls/{id}`), made ready to be replayed.

The call's events say which URIs rang, when, and what they answered; a replay needs that by the legs
of dial strings. So each URI is traced back to the leg that it came from: a provider's by its host,
an account's by the contacts that it has, anything else as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from tandem.dialplan.dialstring import DialStringError, Leg, parse
from tandem.dialplan.dryrun import PastCall
from tandem.dialplan.scene import LegSays, Scene, incoming_call
from tandem.dialplan.substitute import Values
from tandem.dialplan.world import Incoming
from tandem.sip.errors import RemoteFault
from tandem.sip.uri import Uri

NOT_SHOWN: Final = "this is no call as GET /api/v1/calls/{id} shows it"
CALLER_GONE: Final = 487
"""The status of a call whose caller hung up before it was answered (RFC 3261 §9.2)."""


class NotReplayable(Exception):
    """This call can't be replayed; the text says why."""


class Malformed(NotReplayable):
    """This is no call as the events API shows it."""


@dataclass(frozen=True, slots=True)
class Known:
    """What legs are traced back by."""

    hosts: Mapping[str, str]
    """The `place` of each provider's server, by the provider's name in lower case."""
    contacts: Mapping[str, str]
    """The AOR of each registered contact."""


@dataclass(slots=True)
class _Rang:
    """A leg of a dial string, and what became of it."""

    name: str
    began: float
    ended: float | None = None
    status: int = 0
    reason: str = ""

    def end(self, at: float, status: int, reason: str) -> None:
        """Of several phones of one account the one that answered counts, else the last."""
        if not 200 <= self.status <= 299:
            self.ended, self.status, self.reason = at, status, reason


@dataclass(slots=True)
class _Story:
    """The legs of a call, as its events are gone through."""

    call: Incoming
    scene: Scene
    known: Known
    legs: list[Leg] = field(default_factory=list)
    """Those of the last dial."""
    rang: list[_Rang] = field(default_factory=list)
    numbers: dict[int, _Rang] = field(default_factory=dict)

    def dialled(self, text: str) -> None:
        """A dial begins; a leg that rings again now is another one."""
        self.legs = []
        for form in (False, True):
            with suppress(DialStringError):
                string = parse(text, asterisk_form=form).filled(Values.of(self.call))
                self.legs = [leg for attempt in string.attempts for leg in attempt.legs]
                return

    def forwarded(self, number: int, target: str, at: float) -> None:
        """A phone, provider or address rings."""
        if number in self.numbers:  # the same leg by another way
            return
        name = self._name_of(target)
        same = next((one for one in self.rang if one.name == name and not one.status), None)
        if same is None:
            same = _Rang(name, at)
            self.rang.append(same)
        self.numbers[number] = same

    def ended(self, number: int, at: float, status: int, reason: str) -> None:
        """It answered, or failed."""
        found = self.numbers.get(number)
        if found is not None:
            found.end(at, status, reason)

    def _name_of(self, target: str) -> str:
        try:
            uri = Uri.parse(target)
        except RemoteFault:
            return target
        for leg in self.legs:
            if self._leads_to(leg, uri):
                return leg.name
        own = [leg for leg in self.legs if leg.uri.host.lower() in self.scene.domains]
        return own[0].name if len(own) == 1 else f"{uri.user}@{uri.host}"

    def _leads_to(self, leg: Leg, uri: Uri) -> bool:
        host, user = leg.uri.host.lower(), leg.uri.user or self.call.user
        domain = self.scene.domains.get(host)
        if domain is not None:
            aor = f"{user}@{domain}".lower()
            known = self.known.contacts.get(str(uri))
            return known == aor if known else (uri.user or "").lower() == user.lower()
        if host in self.known.hosts:
            return place(uri) == self.known.hosts[host] and uri.user == user
        return leg.uri.host.lower() == uri.host.lower() and leg.uri.user == uri.user


def past_call(shown: Mapping[str, Any], customer: str, scene: Scene, known: Known) -> PastCall:
    """The call that the API shows. Raises NotReplayable, and Malformed for what is no call."""
    try:
        return _past_call(shown, customer, scene, known)
    except KeyError as fault:
        raise Malformed(f"{NOT_SHOWN}: {fault.args[0]} is missing in it") from None
    except (TypeError, ValueError, AttributeError, RemoteFault):
        raise Malformed(NOT_SHOWN) from None


def _past_call(shown: Mapping[str, Any], customer: str, scene: Scene, known: Known) -> PastCall:
    record, events = shown["record"], shown["events"]
    if record is None:
        raise NotReplayable("it is still under way, or has no record")
    began = _seconds(record["created_at"])
    started = _only(events, "dialplan.started")
    caller, destination = (_bare(record[name]) for name in ("caller", "destination"))
    call = incoming_call(
        caller, destination, customer=customer, direction=str(started["direction"]),
        name=str(record.get("caller_name") or ""),
    )  # fmt: skip
    call = replace(call, account=str(started["account"]))
    story = _Story(call, scene, known)
    for event in events:
        _tell(story, event)
    status = int(record["status"])
    waits = _seconds(record["ended_at"]) - began if status == CALLER_GONE else scene.caller_waits
    return PastCall(
        id=str(shown["id"]),
        call=call,
        scene=replace(scene, at=began, legs=_says(story.rang), caller_waits=max(0.0, waits)),
        dialled=tuple(one.name for one in story.rang),
        status=status,
    )


def dialplan_of(shown: Mapping[str, Any]) -> str:
    """The name of the dialplan that ran for a call; "" for none."""
    events = shown.get("events")
    for event in events if isinstance(events, list) else ():
        if isinstance(event, Mapping) and event.get("type") == "dialplan.started":
            data = event.get("data")
            return str(data.get("dialplan", "")) if isinstance(data, Mapping) else ""
    return ""


def _only(events: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any]:
    found = [event["data"] for event in events if event["type"] == kind]
    if not found:
        raise NotReplayable("no dialplan ran for it")
    if len(found) > 1:
        raise NotReplayable("more than one dialplan ran for it")
    data: Mapping[str, Any] = found[0]
    return data


def _tell(story: _Story, event: Mapping[str, Any]) -> None:
    kind, data, at = event["type"], event["data"], _seconds(event["time"])
    if kind == "dialplan.dialled":
        story.dialled(str(data["destination"]))
    elif kind == "call.forwarded":
        story.forwarded(int(data["leg"]), str(data["target"]), at)
    elif kind == "call.leg_failed":
        story.ended(int(data["leg"]), at, int(data["status"]), str(data["reason"]))
    elif kind == "call.answered":
        story.ended(int(data["leg"]), at, 200, "OK")


def _says(rang: Sequence[_Rang]) -> tuple[LegSays, ...]:
    """What each leg answered, but for those that rang until they were given up. One that rang
    twice answers as it did first."""
    found: dict[str, LegSays] = {}
    for one in rang:
        if one.ended is not None and one.status:
            after = round(max(0.0, one.ended - one.began), 3)
            says = LegSays(to=_literal(one.name), status=one.status, reason=one.reason, after=after)
            found.setdefault(one.name, says)
    return tuple(found.values())


def _literal(name: str) -> str:
    """A name in which * and ? stand for themselves (see `fnmatch`)."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def place(uri: Uri) -> str:
    """Host and port of a URI."""
    return f"{uri.host.lower()}:{uri.port or ''}"


def _bare(uri: str) -> str:
    """`user@host` of a SIP URI; of any other what follows its scheme."""
    parsed = Uri.parse(uri)
    if not parsed.is_sip:
        return parsed.opaque
    return f"{parsed.user}@{parsed.host}" if parsed.user else parsed.host


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
