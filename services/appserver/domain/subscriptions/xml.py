"""XML documents of notifications, made by the standard library: what stands in a name or URI can't
be taken for markup."""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree

# Char ::= #x9 | #xA | #xD | [#x20-#xD7FF] | [#xE000-#xFFFD] | [#x10000-#x10FFFF] (XML 1.0 §2.2)
_NO_CHAR_RE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def held(text: str) -> str:
    """The text with `?` for what no XML document can hold: control characters, and what was no
    UTF-8."""
    return _NO_CHAR_RE.sub("?", text)


def child(parent: ElementTree.Element, name: str, text: str = "") -> ElementTree.Element:
    """A new element at the end of `parent`."""
    made = ElementTree.SubElement(parent, name)
    if text:
        made.text = held(text)
    return made


def document(root: ElementTree.Element) -> bytes:
    """The document for the wire."""
    made: bytes = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return made
