"""A dataclass and the message with its fields, both ways: for the bus and for gRPC.

Repeated fields are tuples, those of messages too, maps are dicts, and an optional field that is
absent is None. Text from phones may hold what is no Unicode (half a surrogate pair, where bytes
were no UTF-8); protobuf refuses it, so there it becomes `?`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

V = TypeVar("V")
M = TypeVar("M", bound=Message)


class Form(Generic[V, M]):
    """How one class becomes its message and back, worked out once. `parts` are the forms of the
    classes that it holds."""

    def __init__(
        self, value: Callable[..., V], message: type[M], parts: Iterable[Form[Any, Any]] = ()
    ) -> None:
        self._message = message
        cls: Any = value
        names = [field.name for field in fields(cls)]
        described = message.DESCRIPTOR.fields_by_name
        forms = {part._message.DESCRIPTOR: part for part in parts}
        held = {n: kind for n in names if (kind := described[n].message_type) is not None}
        self._value = value
        self._names = names
        self._get: Callable[[Any], Any] = attrgetter(*names)
        self._maps = tuple(n for n, kind in held.items() if kind.GetOptions().map_entry)
        self._parts = {n: forms[kind] for n, kind in held.items() if n not in self._maps}
        self._repeated = tuple(n for n in names if described[n].is_repeated and n not in self._maps)
        self._optional = tuple(n for n in names if described[n].has_presence and n not in held)

    def to_message(self, value: V) -> M:
        """Raises ValueError, TypeError or AttributeError for what the message can't hold."""
        columns = self._columns(value)
        try:
            return self._message(**columns)
        except UnicodeEncodeError:
            return self._message(**_cleaned(columns))

    def _columns(self, value: Any) -> dict[str, Any]:
        got = self._get(value)
        columns = dict(zip(self._names, got if len(self._names) > 1 else (got,), strict=True))
        for name, form in self._parts.items():
            part = columns[name]
            many = name in self._repeated
            columns[name] = tuple(map(form._columns, part)) if many else form._columns(part)
        return columns

    def from_bytes(self, data: bytes) -> V:
        """The value of a serialised message. Raises DecodeError."""
        return self.to_value(self._message.FromString(data))

    def to_value(self, message: M) -> V:
        """The value with what `message` has."""
        columns = {name: getattr(message, name) for name in self._names}
        for name in self._repeated:
            columns[name] = tuple(columns[name])
        for name in self._maps:
            columns[name] = dict(columns[name])
        for name in self._optional:
            if not message.HasField(name):
                columns[name] = None
        for name, form in self._parts.items():
            part = columns[name]
            many = name in self._repeated
            columns[name] = tuple(map(form.to_value, part)) if many else form.to_value(part)
        return self._value(**columns)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, tuple):
        return tuple(_cleaned(item) for item in value)
    if isinstance(value, Mapping):
        return {name: _cleaned(item) for name, item in value.items()}
    return value
