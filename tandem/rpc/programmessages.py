"""Protobuf messages of dialplans, providers and leases to and from their values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

from tandem.bus.form import Form
from tandem.dialplan.script import Dialplan, Language
from tandem.rpc.programs import CallbackForm, Customer, Lease, Provider, RegistrationReport
from tandem.stubs.directory.v1 import directory_pb2 as pb

_REPORT: Final = Form(RegistrationReport, pb.RegistrationReport)
_CUSTOMER: Final = Form(Customer, pb.Customer)
_PAIRS: Final = ("headers", "fields")


def dialplan_out(dialplan: Dialplan) -> pb.Dialplan:
    """A dialplan to its message."""
    return pb.Dialplan(**_storable(asdict(dialplan)))


def dialplan_in(message: pb.Dialplan) -> Dialplan:
    """A message to a dialplan. Raises ValueError for a language that we don't know: provisioning
    is newer than we are."""
    values = {name: getattr(message, name) for name in Dialplan.__slots__}
    return Dialplan(**values | {"language": Language(message.language)})


def customer_out(customer: Customer) -> pb.Customer:
    """A customer to its message."""
    return _CUSTOMER.to_message(customer)


def customer_in(message: pb.Customer) -> Customer:
    """A message to a customer."""
    return _CUSTOMER.to_value(message)


def providers_out(providers: Iterable[Provider]) -> list[pb.Provider]:
    """Providers to messages."""
    return [_provider_out(provider) for provider in providers]


def providers_in(messages: Iterable[pb.Provider]) -> list[Provider]:
    """Messages to providers."""
    return [_provider_in(message) for message in messages]


def reports_out(reports: Iterable[RegistrationReport]) -> list[pb.RegistrationReport]:
    """Reports to messages."""
    return [_REPORT.to_message(report) for report in reports]


def reports_in(messages: Iterable[pb.RegistrationReport]) -> list[RegistrationReport]:
    """Messages to reports."""
    return [_REPORT.to_value(message) for message in messages]


def leases_out(leases: Iterable[Lease]) -> list[pb.HeldLease]:
    """Leases to messages."""
    return [
        pb.HeldLease(
            provider=_provider_out(lease.provider),
            seconds=lease.seconds,
            moved=lease.moved,
            last=None if lease.last is None else _REPORT.to_message(lease.last),
        )
        for lease in leases
    ]


def leases_in(messages: Iterable[pb.HeldLease]) -> list[Lease]:
    """Messages to leases."""
    return [
        Lease(
            provider=_provider_in(message.provider),
            seconds=message.seconds,
            moved=message.moved,
            last=_REPORT.to_value(message.last) if message.HasField("last") else None,
        )
        for message in messages
    ]


def _provider_out(provider: Provider) -> pb.Provider:
    values = {name: getattr(provider, name) for name in Provider.__slots__}
    callback = values.pop("callback")
    message = pb.Provider(**_storable(values))
    if callback is not None:
        message.callback.CopyFrom(_callback_out(callback))
    return message


def _provider_in(message: pb.Provider) -> Provider:
    values = {name: getattr(message, name) for name in Provider.__slots__}
    values["custom_headers"] = tuple(message.custom_headers)
    values["in_dialplan"] = message.in_dialplan if message.HasField("in_dialplan") else None
    values["callback"] = _callback_in(message.callback) if message.HasField("callback") else None
    return Provider(**values)


def _callback_out(form: CallbackForm) -> pb.CallbackForm:
    values = _storable({name: getattr(form, name) for name in CallbackForm.__slots__})
    for name in _PAIRS:
        values[name] = [pb.Pair(name=key, value=value) for key, value in values[name]]
    return pb.CallbackForm(**values)


def _callback_in(message: pb.CallbackForm) -> CallbackForm:
    values = {name: getattr(message, name) for name in CallbackForm.__slots__}
    for name in _PAIRS:
        values[name] = tuple((pair.name, pair.value) for pair in values[name])
    return CallbackForm(**values | {"users": tuple(message.users)})


def _storable(value: Any) -> Any:
    """Protobuf refuses half a surrogate pair."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {name: _storable(item) for name, item in value.items()}
    if isinstance(value, Sequence):
        return tuple(_storable(item) for item in value)
    return value
