"""application/pidf+xml: whether somebody can be reached (RFC 3863), and whether the line is in use
(RFC 4480). It is what the switch knows itself: nothing is published by phones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

from services.appserver.domain.subscriptions.xml import child, document, held
from tandem.bus.lines import Line

NAMESPACE: Final = "urn:ietf:params:xml:ns:pidf"
DATA_MODEL: Final = "urn:ietf:params:xml:ns:pidf:data-model"
RPID: Final = "urn:ietf:params:xml:ns:pidf:rpid"
TUPLE: Final = "line"
PERSON: Final = "person"


@dataclass(frozen=True, slots=True)
class Presence:
    """What is told of an account."""

    reachable: bool
    """Whether a phone of it is registered."""
    on_the_phone: bool
    """Whether it has a call that is answered."""

    @classmethod
    def of(cls, reachable: bool, lines: Iterable[Line]) -> Presence:
        """From its bindings and calls."""
        return cls(reachable, any(line.state == "confirmed" for line in lines))


def pidf(entity: str, presence: Presence) -> bytes:
    """The document for this URI. Prefixes are spelled as in RFC 4480's examples, for phones that
    look for the text `<rpid:on-the-phone`."""
    root = ElementTree.Element(
        "presence",
        {"xmlns": NAMESPACE, "xmlns:dm": DATA_MODEL, "xmlns:rpid": RPID, "entity": held(entity)},
    )
    line = child(root, "tuple")
    line.set("id", TUPLE)
    child(child(line, "status"), "basic", "open" if presence.reachable else "closed")
    child(line, "contact", entity)
    if presence.on_the_phone:
        person = child(root, "dm:person")
        person.set("id", PERSON)
        child(child(person, "rpid:activities"), "rpid:on-the-phone")
        child(person, "dm:note", "On the phone")
    return document(root)
