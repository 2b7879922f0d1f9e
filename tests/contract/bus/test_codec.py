"""Payload classes and their messages are in step, and everything survives the way."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, get_type_hints

import pytest
from google.protobuf.descriptor import FieldDescriptor

from tandem.bus import codec
from tandem.bus.call_events import CallEnded, CallRecord
from tandem.bus.codec import PAYLOADS, Unencodable, decode, encode, join
from tandem.bus.hints import Hint
from tandem.bus.lines import Line
from tandem.bus.location import Binding, BindingStored
from tandem.bus.ports import Envelope
from tandem.bus.web_events import LoginFailed
from tandem.stubs.bus.v1 import envelope_pb2, events_pb2, lines_pb2, location_pb2

TYPES = {
    str: FieldDescriptor.TYPE_STRING,
    int: FieldDescriptor.TYPE_INT64,
    float: FieldDescriptor.TYPE_DOUBLE,
    bool: FieldDescriptor.TYPE_BOOL,
    tuple[str, ...]: FieldDescriptor.TYPE_STRING,
    Binding: FieldDescriptor.TYPE_MESSAGE,
    tuple[Line, ...]: FieldDescriptor.TYPE_MESSAGE,
}
REPEATED = (tuple[str, ...], tuple[Line, ...])
EXAMPLES: dict[Any, Any] = {
    str: "Müller ☎",
    int: 2**53 + 1,
    float: 1234.5678,
    bool: True,
    tuple[str, ...]: ("a", "b"),
}


def plain(hint: Any) -> Any:
    """The type without None."""
    for kind in TYPES:
        if hint in (kind, kind | None):
            return kind
    raise AssertionError(f"no message field can hold {hint}")


def example(cls: type, *, least: bool) -> Any:
    """An object with something, or as little as it can have, in each field."""
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(cls).items():
        if name not in {field.name for field in fields(cls)}:
            continue
        kind = plain(hint)
        if kind is Binding:
            values[name] = example(Binding, least=least)
        elif kind == tuple[Line, ...]:
            values[name] = (
                () if least else tuple(example(Line, least=each) for each in (True, False))
            )
        elif least:
            values[name] = None if hint != kind else kind()
        else:
            values[name] = EXAMPLES[kind]
    return cls(**values)


def there_and_back(payload: Any) -> Any:
    envelope = Envelope("n-1", 99.5, "n", payload)
    found = decode(join([encode(envelope)]))
    assert found.unreadable == 0
    assert len(found.envelopes) == 1
    got = found.envelopes[0]
    assert (got.id, got.time, got.node) == ("n-1", 99.5, "n")
    return got.payload


@pytest.mark.parametrize("cls", [*PAYLOADS, Binding, Line], ids=lambda cls: cls.__name__)
def test_a_class_and_its_message_have_the_same_fields(cls: type) -> None:
    message = codec._message(cls.__name__).DESCRIPTOR
    hints = get_type_hints(cls)
    names = [field.name for field in fields(cls)]
    assert sorted(names) == sorted(message.fields_by_name)
    for name in names:
        described, hint = message.fields_by_name[name], hints[name]
        kind = plain(hint)
        assert described.type == TYPES[kind], name
        assert described.is_repeated == (kind in REPEATED), name
        assert described.has_presence == (hint != kind or kind is Binding), name


@pytest.mark.parametrize("least", [False, True], ids=["full", "empty"])
@pytest.mark.parametrize("cls", PAYLOADS, ids=lambda cls: cls.__name__)
def test_what_is_decoded_is_what_was_encoded(cls: type, least: bool) -> None:
    payload = example(cls, least=least)
    assert there_and_back(payload) == payload


def test_every_message_of_the_event_file_has_a_class() -> None:
    assert set(events_pb2.DESCRIPTOR.message_types_by_name) <= {c.__name__ for c in PAYLOADS}
    assert set(location_pb2.DESCRIPTOR.message_types_by_name) <= {
        c.__name__ for c in (*PAYLOADS, Binding)
    }
    assert set(lines_pb2.DESCRIPTOR.message_types_by_name) <= {
        c.__name__ for c in (*PAYLOADS, Line)
    }


def test_defaults_of_a_class_may_be_left_out_by_an_older_writer() -> None:
    """An older writer's message lacks a field: it reads as the field's zero."""
    bare = envelope_pb2.Envelope(
        id="1", type="Hint", schema_version=1, payload=codec._message("Hint")().SerializeToString()
    )
    found = decode(join([bare.SerializeToString()]))
    assert found.envelopes[0].payload.domains == ()
    assert all(f.default is not MISSING for f in fields(Hint) if f.name in ("domains", "pattern"))


def test_text_that_is_no_utf8_is_mended() -> None:
    got = there_and_back(LoginFailed(username="a\ud800b", source="s", owners=("x\udcff",)))
    assert got.username == "a?b"
    assert got.owners == ("x?",)


def test_a_binding_with_text_that_is_no_utf8_is_mended() -> None:
    binding = example(Binding, least=True)
    odd = type(binding)(**{f.name: getattr(binding, f.name) for f in fields(binding)} | {
        "user_agent": "\udcff phone"
    })  # fmt: skip
    assert there_and_back(BindingStored(odd)).binding.user_agent == "? phone"


@pytest.mark.parametrize(
    "payload",
    ["text", 7, None, object(), BindingStored(None),  # type: ignore[arg-type]
     CallEnded(status=2**70, reason="", duration=0.0)],
    ids=lambda payload: type(payload).__name__,
)  # fmt: skip
def test_what_can_not_travel_is_told(payload: object) -> None:
    with pytest.raises(Unencodable):
        encode(Envelope("1", 1.0, "n", payload))


def test_what_is_unknown_or_broken_is_left_out_and_counted() -> None:
    good = encode(Envelope("1", 1.0, "n", LoginFailed(username="u", source="s")))
    unknown = envelope_pb2.Envelope(id="2", type="Later", schema_version=1).SerializeToString()
    newer = envelope_pb2.Envelope(id="3", type="LoginFailed", schema_version=2)
    broken = envelope_pb2.Envelope(
        id="4", type="LoginFailed", schema_version=1, payload=b"\xff\xff\xff"
    )
    found = decode(
        join([unknown, newer.SerializeToString(), good, broken.SerializeToString(), good])
    )
    assert [envelope.id for envelope in found.envelopes] == ["1", "1"]
    assert found.unreadable == 3


@pytest.mark.parametrize("data", [b"", b"\x0a", b"\xff" * 40, b"GET / HTTP/1.1", b"\x0a\x05abc"])
def test_any_bytes_can_be_read(data: bytes) -> None:
    found = decode(data)
    assert found.envelopes == []
    assert found.unreadable == (1 if data else 0)


def test_a_joined_batch_is_what_the_message_makes_of_it() -> None:
    envelopes = [
        encode(Envelope(str(n), 1.0, "n", LoginFailed(username="u" * n, source="s")))
        for n in (0, 1, 100, 127, 128, 20_000)
    ]
    batch = envelope_pb2.Batch()
    batch.ParseFromString(join(envelopes))
    assert [e.SerializeToString() for e in batch.envelopes] == envelopes


def test_a_call_record_of_a_call_that_failed_has_no_answer_time() -> None:
    record = example(CallRecord, least=True)
    assert there_and_back(record).answered_at is None
