"""Payloads and envelopes to bytes and back: each payload class has a message of its name and with
its fields in protos/tandem/bus/v1 (tests/contract/bus/test_codec.py holds them together).

What can't be read is left out and counted by the caller, so that a node of another version, or a
stranger's message, stops nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from tandem.bus.directory import DirectoryChanged
from tandem.bus.events import EVENT_TYPES
from tandem.bus.hints import Hint, HintAcknowledged, HintsWanted, HintWithdrawn
from tandem.bus.interest import EventsStored, Interest
from tandem.bus.location import Binding, BindingRemoved, BindingStored
from tandem.bus.nodes import DrainRequested, NodeAnnounced
from tandem.bus.ports import Envelope
from tandem.stubs.bus.v1 import (
    directory_pb2,
    envelope_pb2,
    events_pb2,
    feed_pb2,
    hints_pb2,
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
)  # fmt: skip
"""All that may travel."""

_PARTS: Final[tuple[type, ...]] = (Binding,)
"""Classes that payloads hold."""
_FILES: Final = (
    events_pb2, location_pb2, nodes_pb2, directory_pb2, hints_pb2, feed_pb2,
)  # fmt: skip


class Unencodable(Exception):
    """The payload is of no known class, or holds what its message can't."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was found in a batch."""

    envelopes: list[Envelope]
    unreadable: int
    """Envelopes that were left out."""


class _Kind:
    """How one class becomes its message and back, worked out once."""

    __slots__ = ("_get", "_names", "cls", "message", "optional", "parts", "repeated")

    def __init__(self, cls: type, message: type[Message]) -> None:
        self.cls = cls
        self.message = message
        # cls is any dataclass; its instances are all that mypy lets pass
        names: Sequence[str] = [field.name for field in fields(cls)]
        described = message.DESCRIPTOR.fields_by_name
        self._names = names
        self._get: Callable[[Any], Any] = attrgetter(*names)
        self.repeated = tuple(n for n in names if described[n].is_repeated)
        self.parts = {
            n: _part(kind.name) for n in names if (kind := described[n].message_type) is not None
        }
        self.optional = tuple(n for n in names if described[n].has_presence and n not in self.parts)

    def values(self, payload: Any) -> dict[str, Any]:
        """The arguments of the message's constructor."""
        got = self._get(payload)
        values = dict(zip(self._names, got if len(self._names) > 1 else (got,), strict=True))
        for name, kind in self.parts.items():
            values[name] = kind.values(values[name])
        return values

    def encode(self, payload: Any) -> bytes:
        """Raises Unencodable."""
        try:
            values = self.values(payload)
            try:
                return self.message(**values).SerializeToString()
            except UnicodeEncodeError:
                return self.message(**_cleaned(values)).SerializeToString()
        except (ValueError, TypeError, AttributeError) as error:
            raise Unencodable(f"{self.cls.__name__}: {error}") from error

    def decode(self, data: bytes) -> Any:
        """Raises DecodeError."""
        message = self.message()
        message.ParseFromString(data)
        return self.make(message)

    def make(self, message: Message) -> Any:
        """The object of a message."""
        values = {name: getattr(message, name) for name in self._names}
        for name in self.repeated:
            values[name] = tuple(values[name])
        for name in self.optional:
            if not message.HasField(name):
                values[name] = None
        for name, kind in self.parts.items():
            values[name] = kind.make(values[name])
        return self.cls(**values)


def _cleaned(value: Any) -> Any:
    """Lone surrogates, from bytes of a SIP message that are no UTF-8, become `?`."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, tuple):
        return tuple(_cleaned(item) for item in value)
    if isinstance(value, dict):
        return {name: _cleaned(item) for name, item in value.items()}
    return value


def _message(name: str) -> type[Message]:
    for file in _FILES:
        found = getattr(file, name, None)
        if found is not None:
            return found  # type: ignore[no-any-return]  # a generated class
    raise TypeError(f"no message {name} in protos/tandem/bus/v1")


def _part(name: str) -> _Kind:
    return next(kind for cls, kind in _PART_KINDS.items() if cls.__name__ == name)


_PART_KINDS: Final[dict[type, _Kind]] = {}
_PART_KINDS.update({cls: _Kind(cls, _message(cls.__name__)) for cls in _PARTS})
_KINDS: Final = {cls: _Kind(cls, _message(cls.__name__)) for cls in PAYLOADS}
_BY_NAME: Final = {cls.__name__: kind for cls, kind in _KINDS.items()}


def encode(envelope: Envelope) -> bytes:
    """One serialised Envelope. Raises Unencodable."""
    payload = envelope.payload
    kind = _KINDS.get(type(payload))
    if kind is None:
        raise Unencodable(f"{type(payload).__name__} has no message")
    made = envelope_pb2.Envelope(
        id=envelope.id,
        type=kind.cls.__name__,
        schema_version=SCHEMA_VERSION,
        time=envelope.time,
        node=envelope.node,
        traceparent=envelope.trace,
        payload=kind.encode(payload),
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
        kind = _BY_NAME.get(said.type)
        if kind is None or said.schema_version != SCHEMA_VERSION:
            unreadable += 1
            continue
        try:
            payload = kind.decode(said.payload)
        except (DecodeError, ValueError, TypeError):
            unreadable += 1
            continue
        found.append(Envelope(said.id, said.time, said.node, payload, said.traceparent))
    return Decoded(found, unreadable)
