"""Payloads and envelopes to bytes and back: each payload class has a message of its name and with
its fields in protos/tandem/bus/v1 (tests/contract/bus/test_codec.py holds them together).

What can't be read is left out and counted by the caller, so that a node of another version, or a
stranger's message, stops nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from tandem.bus.directory import DirectoryChanged
from tandem.bus.events import EVENT_TYPES
from tandem.bus.form import Form
from tandem.bus.hints import Hint, HintAcknowledged, HintsWanted, HintWithdrawn
from tandem.bus.interest import EventsStored, Interest
from tandem.bus.lines import Line, LinesKnown, LinesWanted, SummariesWanted, SummaryKnown
from tandem.bus.location import Binding, BindingRemoved, BindingStored
from tandem.bus.nodes import DrainRequested, NodeAnnounced
from tandem.bus.ports import Envelope
from tandem.stubs.bus.v1 import (
    directory_pb2,
    envelope_pb2,
    events_pb2,
    feed_pb2,
    hints_pb2,
    lines_pb2,
    location_pb2,
    nodes_pb2,
)

SCHEMA_VERSION: Final = 1
"""Of all payloads; raised for one that old readers would misunderstand."""
ENVELOPES_TAG: Final = b"\x0a"
"""Field 1 of Batch, length-delimited: what joins serialised envelopes to a Batch."""

PAYLOADS: Final[tuple[type, ...]] = (
    *EVENT_TYPES.values(),
    BindingStored, BindingRemoved, NodeAnnounced, DrainRequested, DirectoryChanged,
    Hint, HintAcknowledged, HintWithdrawn, HintsWanted, Interest, EventsStored,
    LinesWanted, LinesKnown, SummariesWanted, SummaryKnown,
)  # fmt: skip
"""All that may travel."""

_FILES: Final = (
    events_pb2, location_pb2, nodes_pb2, directory_pb2, hints_pb2, feed_pb2,
    lines_pb2,
)  # fmt: skip


class Unencodable(Exception):
    """The payload is of no known class, or holds what its message can't."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was found in a batch."""

    envelopes: list[Envelope]
    unreadable: int
    """Envelopes that were left out."""


def _message(name: str) -> type[Message]:
    for file in _FILES:
        found = getattr(file, name, None)
        if found is not None:
            return found  # type: ignore[no-any-return]  # a generated class
    raise TypeError(f"no message {name} in protos/tandem/bus/v1")


_BINDING: Final = Form(Binding, location_pb2.Binding)
_LINE: Final = Form(Line, lines_pb2.Line)
_FORMS: Final[dict[type, Form[Any, Any]]] = {
    cls: Form(cls, _message(cls.__name__), (_BINDING, _LINE)) for cls in PAYLOADS
}
_BY_NAME: Final = {cls.__name__: form for cls, form in _FORMS.items()}


def encode(envelope: Envelope) -> bytes:
    """One serialised Envelope. Raises Unencodable."""
    payload = envelope.payload
    name = type(payload).__name__
    form = _FORMS.get(type(payload))
    if form is None:
        raise Unencodable(f"{name} has no message")
    try:
        data = form.to_message(payload).SerializeToString()
    except (ValueError, TypeError, AttributeError) as error:
        raise Unencodable(f"{name}: {error}") from error
    made = envelope_pb2.Envelope(
        id=envelope.id,
        type=name,
        schema_version=SCHEMA_VERSION,
        time=envelope.time,
        node=envelope.node,
        payload=data,
    )
    return made.SerializeToString()


def join(envelopes: Iterable[bytes]) -> bytes:
    """A serialised Batch of serialised envelopes."""
    parts: list[bytes] = []
    for data in envelopes:
        parts += (ENVELOPES_TAG, _varint(len(data)), data)
    return b"".join(parts)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def decode(data: bytes) -> Decoded:
    """The envelopes of a Batch; never raises."""
    batch = envelope_pb2.Batch()
    try:
        batch.ParseFromString(data)
    except DecodeError:
        return Decoded([], 1)
    found: list[Envelope] = []
    unreadable = 0
    for said in batch.envelopes:
        form = _BY_NAME.get(said.type)
        if form is None or said.schema_version != SCHEMA_VERSION:
            unreadable += 1
            continue
        try:
            payload = form.from_bytes(said.payload)
        except (DecodeError, ValueError, TypeError):
            unreadable += 1
            continue
        found.append(Envelope(said.id, said.time, said.node, payload))
    return Decoded(found, unreadable)
