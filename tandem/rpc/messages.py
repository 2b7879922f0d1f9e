"""Protobuf messages of the services to and from the values that the rest of Tandem knows.

Text from phones may hold what is no Unicode (half a surrogate pair, where bytes were no UTF-8);
protobuf refuses it, so there it becomes `?`, as on the bus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final, TypeVar

from tandem.bus.hints import Hint
from tandem.bus.location import Binding
from tandem.bus.nodes import NodeAnnounced
from tandem.rpc.directory import Account, Domain
from tandem.rpc.sessions import Principal
from tandem.stubs.bus.v1 import hints_pb2, location_pb2, nodes_pb2
from tandem.stubs.directory.v1 import directory_pb2

T = TypeVar("T")


class Form:
    """A dataclass and a message with the same field names; repeated fields are tuples."""

    def __init__(self, value: type[Any], message: Any) -> None:
        self._names = tuple(field.name for field in fields(value))
        self._read: Callable[[Any], Any] = attrgetter(*self._names)
        self._value, self._message = value, message
        repeated = {field.name for field in message.DESCRIPTOR.fields if field.is_repeated}
        self._tuples = tuple(name for name in self._names if name in repeated)

    def to_message(self, value: Any) -> Any:
        """The message with what `value` has."""
        columns = dict(zip(self._names, self._read(value), strict=True))
        try:
            return self._message(**columns)
        except UnicodeEncodeError:
            return self._message(**{name: _clean(what) for name, what in columns.items()})

    def to_value(self, message: Any) -> Any:
        """The value with what `message` has."""
        columns = dict(zip(self._names, self._read(message), strict=True))
        for name in self._tuples:
            columns[name] = tuple(columns[name])
        return self._value(**columns)


_BINDING: Final = Form(Binding, location_pb2.Binding)
_HINT: Final = Form(Hint, hints_pb2.Hint)
_NODE: Final = Form(NodeAnnounced, nodes_pb2.NodeAnnounced)
_ACCOUNT: Final = Form(Account, directory_pb2.Account)
_DOMAIN: Final = Form(Domain, directory_pb2.Domain)
_PRINCIPAL: Final = Form(Principal, directory_pb2.Principal)


def bindings_out(bindings: Iterable[Binding]) -> list[location_pb2.Binding]:
    """Bindings to messages."""
    return [_BINDING.to_message(binding) for binding in bindings]


def bindings_in(messages: Iterable[location_pb2.Binding]) -> list[Binding]:
    """Messages to bindings."""
    return [_BINDING.to_value(message) for message in messages]


def hints_out(hints: Iterable[Hint]) -> list[hints_pb2.Hint]:
    """Hints to messages."""
    return [_HINT.to_message(hint) for hint in hints]


def hints_in(messages: Iterable[hints_pb2.Hint]) -> list[Hint]:
    """Messages to hints."""
    return [_HINT.to_value(message) for message in messages]


def node_out(said: NodeAnnounced) -> nodes_pb2.NodeAnnounced:
    """What a node said, to its message."""
    return _out(_NODE, said, nodes_pb2.NodeAnnounced)


def account_out(account: Account) -> directory_pb2.Account:
    """An account to its message."""
    return _out(_ACCOUNT, account, directory_pb2.Account)


def account_in(message: directory_pb2.Account) -> Account:
    """A message to an account; a dialplan that is not set is None."""
    return Account(
        id=message.id,
        owner=message.owner,
        username=message.username,
        domain=message.domain,
        ha1=dict(message.ha1),
        enabled=message.enabled,
        owner_enabled=message.owner_enabled,
        in_dialplan=message.in_dialplan if message.HasField("in_dialplan") else None,
        out_dialplan=message.out_dialplan if message.HasField("out_dialplan") else None,
        max_bindings=message.max_bindings,
        send_keepalives=message.send_keepalives,
        ip_acl=tuple(message.ip_acl),
        max_call_seconds=message.max_call_seconds,
        max_calls=message.max_calls,
    )


def domains_out(domains: Iterable[Domain]) -> list[directory_pb2.Domain]:
    """Domains to messages."""
    return [_DOMAIN.to_message(domain) for domain in domains]


def domains_in(messages: Iterable[directory_pb2.Domain]) -> list[Domain]:
    """Messages to domains."""
    return [_DOMAIN.to_value(message) for message in messages]


def principal_out(principal: Principal) -> directory_pb2.Principal:
    """Who it is, to its message."""
    return _out(_PRINCIPAL, principal, directory_pb2.Principal)


def principal_in(message: directory_pb2.Principal) -> Principal:
    """A message to who it is."""
    return Principal(message.username, message.admin)


def _out(form: Form, value: object, kind: type[T]) -> T:
    made = form.to_message(value)
    assert isinstance(made, kind)
    return made


def _clean(what: Any) -> Any:
    if isinstance(what, str):
        return what.encode("utf-8", "replace").decode("utf-8")
    if isinstance(what, Sequence):
        return [_clean(part) for part in what]
    return what
