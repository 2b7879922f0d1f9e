"""Which of several versions of a binding holds, whatever order they were heard in.

Of one Call-ID the version with the highest CSeq counts, for no clock has a part in it; among the
Call-IDs the one whose version is the latest. Comparing two at a time would not do: with clocks
that differ, A may beat B, B beat C and C beat A, and every node would end with another. So the
best version of each Call-ID is kept for a while, and the winner follows from all of them.

A removal is a version too. It beats the very version that it removes, and what is older.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tandem.bus.location import Binding
from tandem.sip.errors import RemoteFault
from tandem.sip.uri import Uri

MAX_VERSIONS: Final = 8
"""Call-IDs remembered of one binding: a phone that starts again and again makes new ones."""


@dataclass(frozen=True, slots=True)
class Version:
    """A binding as one REGISTER left it."""

    call_id: str
    cseq: int
    registered_at: float
    node: str
    gone: bool
    binding: Binding | None
    """None for one that is gone."""

    @classmethod
    def stored(cls, binding: Binding) -> Version:
        """The binding is there."""
        return cls(
            binding.call_id, binding.cseq, binding.registered_at, binding.node, False, binding
        )

    @classmethod
    def removed(cls, binding: Binding) -> Version:
        """The binding is gone since this version of it."""
        return cls(binding.call_id, binding.cseq, binding.registered_at, binding.node, True, None)

    def beats(self, other: Version) -> bool:
        """Of one Call-ID: whether this one counts."""
        return _within(self) > _within(other)


def merge(known: tuple[Version, ...], news: Version) -> tuple[Version, ...]:
    """The best of each Call-ID, `news` included."""
    same = next((v for v in known if v.call_id == news.call_id), None)
    if same is not None:
        return tuple(news if v is same else v for v in known) if news.beats(same) else known
    if len(known) < MAX_VERSIONS:
        return (*known, news)
    return tuple(sorted((*known, news), key=_between)[1:])


def winner(versions: Iterable[Version]) -> Version:
    """The version that holds, of one for each Call-ID."""
    return max(versions, key=_between)


def _within(version: Version) -> tuple[int, float, str, bool]:
    return version.cseq, version.registered_at, version.node, version.gone


def _between(version: Version) -> tuple[float, str, str]:
    return version.registered_at, version.node, version.call_id


def key(binding: Binding) -> str:
    """What tells the bindings of one AOR apart: the flow of RFC 5626 §6, else the Contact."""
    if binding.reg_id and binding.instance:
        return f"{binding.instance};{binding.reg_id}"
    return binding.contact


def find(bindings: Iterable[Binding], wanted: Binding) -> Binding | None:
    """The same binding among these: RFC 3261 §10.3 step 7, RFC 5626 §6."""
    name = key(wanted)
    for binding in bindings:
        if key(binding) == name:
            return binding
    if wanted.reg_id and wanted.instance:
        return None
    return next((b for b in bindings if not b.reg_id and _equivalent(b, wanted)), None)


def _equivalent(one: Binding, two: Binding) -> bool:
    try:
        return Uri.parse(one.contact).equivalent(Uri.parse(two.contact))
    except RemoteFault:
        return False
