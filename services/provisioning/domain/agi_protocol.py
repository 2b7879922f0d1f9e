"""What Asterisk says over FastAGI: the environment, a reply to each command, HANGUP.

C: agi_network: yes                    (Asterisk connects and begins)
C: agi_network_script: alice?key=…
C: agi_request: agi://switch.example/alice?key=…
C: agi_calleridname: uniqueid
C: (an empty line)
S: ANSWER
C: 200 result=0
S: GET DATA "enter-number" 5000 10
C: 200 result=1234 (timeout)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

MAX_LINE: Final = 1_024
"""Bytes of a line of theirs: a URL with a key, or a reply with the value of a variable."""
MAX_LINES: Final = 100
"""Lines of an environment: Asterisk sends 20 and one for each argument. As many of one reply."""
HANGUP: Final = "HANGUP"
"""What Asterisk says when the channel has hung up while a command ran."""

_NAME: Final = re.compile(r"agi_([a-z0-9_]+)")
_REPLY: Final = re.compile(r"(\d{3})([ -])?(.*)")
_RESULT: Final = re.compile(r"result=(\S*)(?:\s+\((.*?)\))?")


class AgiFault(Exception):
    """They said what makes no sense; the text is what to tell them."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a command."""

    code: int
    """200, 510 for an unknown command, 511 for a dead channel, 520 for a wrong use."""
    result: str = ""
    value: str = ""
    """What stands in parentheses behind the result: `timeout`, or the value of a variable."""

    @property
    def over(self) -> bool:
        """Whether the channel is gone: there is nothing more to command."""
        return self.code == 511 or self.result == "-1"


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks, and about which call."""

    customer: str
    key: str
    values: Mapping[str, str]
    """The environment, names without `agi_`."""


def parse_environment(lines: Sequence[str]) -> Request:
    """The lines up to the empty one. Raises AgiFault."""
    values: dict[str, str] = {}
    for text in lines:
        name, colon, value = text.partition(":")
        match = _NAME.fullmatch(name.strip())
        if match is None or not colon:
            raise AgiFault("this is a FastAGI server, and that is no AGI environment")
        values[match[1]] = value.strip()
    try:
        url = urlsplit(values.get("request", ""))
    except ValueError:
        raise AgiFault("agi_request is no URL") from None
    script = values.get("network_script") or url.path.lstrip("/")
    path, _, own_query = script.partition("?")
    key = parse_qs(own_query or url.query).get("key", [""])[0]
    customer = path.strip("/").partition("/")[0].lower()
    if not customer or not key:
        raise AgiFault("name a customer and a key: agi://HOST/CUSTOMER?key=API-KEY")
    secrets = ("request", "network_script")
    return Request(customer, key, {k: v for k, v in values.items() if k not in secrets})


def parse_reply(lines: Sequence[str]) -> Reply:
    """A reply, all of its lines. Raises AgiFault."""
    match = _REPLY.fullmatch(lines[0])
    if match is None:
        raise AgiFault("that is no AGI reply")
    found = _RESULT.search(match[3]) if match[1] == "200" else None
    return Reply(int(match[1]), found[1] if found else "", (found[2] or "") if found else "")


def is_last(lines: Sequence[str]) -> bool:
    """Whether a reply ends here: `520-Invalid …` goes on until a line `520 End of …`."""
    first = _REPLY.fullmatch(lines[0])
    if first is None or first[2] != "-":
        return True
    return len(lines) > 1 and lines[-1].startswith(f"{first[1]} ")


def verbose(text: str) -> str:
    """The command that shows a line on Asterisk's console: how it is told why it is refused."""
    told = "".join(c if c.isprintable() and c not in '"\\' else " " for c in text)
    return f'VERBOSE "Tandem: {told[:200]}" 1'
