"""application/dialog-info+xml: which calls a line has (RFC 4235).

Each document has the full state. A call that the subscriber was told of and that is over is in the
next document once more, as terminated: some phones look for that word, and not for what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from xml.etree import ElementTree

from services.appserver.domain.subscriptions.xml import child, document, held
from tandem.bus.lines import Line

NAMESPACE: Final = "urn:ietf:params:xml:ns:dialog-info"
TERMINATED: Final = "terminated"
MAX_DIALOGS: Final = 10
"""Calls in one document: a line with more is busy all the same, and UDP has its limit."""


def dialog_info(entity: str, version: int, lines: Iterable[Line], over: Iterable[Line]) -> bytes:
    """The state of the line with this URI; `over` has ended since the document before this.
    `version` grows by one with each (RFC 4235 §4.1)."""
    root = ElementTree.Element(
        "dialog-info",
        {
            "xmlns": NAMESPACE,
            "version": str(version),
            "state": "full",
            "entity": held(entity),
        },
    )
    dialogs = [(line, line.state) for line in lines] + [(line, TERMINATED) for line in over]
    for line, state in dialogs[:MAX_DIALOGS]:
        _add(root, entity, line, state)
    return document(root)


def _add(root: ElementTree.Element, entity: str, line: Line, state: str) -> None:
    dialog = child(root, "dialog")
    dialog.set("id", held(line.call_id))
    dialog.set("direction", "initiator" if line.outgoing else "recipient")
    child(dialog, "state", state)
    child(child(dialog, "local"), "identity", entity)
    if line.remote:
        child(child(dialog, "remote"), "identity", line.remote)
