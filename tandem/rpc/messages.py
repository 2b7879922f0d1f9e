"""Protobuf messages of the services to and from the values that the rest of Tandem knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tandem.bus.form import Form
from tandem.bus.hints import Hint
from tandem.bus.location import Binding
from tandem.bus.nodes import NodeAnnounced
from tandem.rpc.directory import Account, Domain
from tandem.rpc.sessions import Principal
from tandem.stubs.bus.v1 import hints_pb2, location_pb2, nodes_pb2
from tandem.stubs.directory.v1 import directory_pb2

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
    return _NODE.to_message(said)


def account_out(account: Account) -> directory_pb2.Account:
    """An account to its message."""
    return _ACCOUNT.to_message(account)


def account_in(message: directory_pb2.Account) -> Account:
    """A message to an account; a dialplan that is not set is None."""
    return _ACCOUNT.to_value(message)


def domains_out(domains: Iterable[Domain]) -> list[directory_pb2.Domain]:
    """Domains to messages."""
    return [_DOMAIN.to_message(domain) for domain in domains]


def domains_in(messages: Iterable[directory_pb2.Domain]) -> list[Domain]:
    """Messages to domains."""
    return [_DOMAIN.to_value(message) for message in messages]


def principal_out(principal: Principal) -> directory_pb2.Principal:
    """Who it is, to its message."""
    return _PRINCIPAL.to_message(principal)


def principal_in(message: directory_pb2.Principal) -> Principal:
    """A message to who it is."""
    return _PRINCIPAL.to_value(message)
