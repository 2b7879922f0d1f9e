"""Replaces: RFC 3891 §6.1. It names a dialog by what one end knows of it; across the B2BUA the
other end knows it by other names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tandem.sip.dialog import Dialog

_BREAK_RE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""In a header line they may not be, but escaped in a Refer-To they may come: a CRLF in front of a
header, or of a whole body, that somebody would have us send."""


@dataclass(frozen=True, slots=True)
class Replaces:
    """The dialog to be replaced, as who receives the header sees it: `to_tag` is its own."""

    call_id: str
    to_tag: str
    from_tag: str
    rest: str = ""
    """Other parameters as they came, `;early-only`."""

    @classmethod
    def parse(cls, text: str) -> Replaces | None:
        """Parse a value; None for one that names no dialog, or is no header's."""
        if _BREAK_RE.search(text):
            return None
        call_id, *params = (part.strip() for part in text.split(";"))
        tags: dict[str, str] = {}
        rest = ""
        for param in params:
            name, _, value = (part.strip() for part in param.partition("="))
            if name.lower() in ("to-tag", "from-tag"):
                tags[name.lower()] = value
            else:
                rest += f";{param}"
        if not call_id or len(tags) != 2:
            return None
        return cls(call_id, tags["to-tag"], tags["from-tag"], rest)

    @property
    def early_only(self) -> bool:
        """Whether the dialog is to be left alone once it is answered."""
        flags = (flag.strip().lower() for flag in self.rest.split(";"))
        return "early-only" in flags

    def across(self, other: Dialog) -> Replaces:
        """The same for the far end of `other`, our dialog with the end that is meant."""
        return Replaces(other.call_id, other.remote_tag, other.local_tag, self.rest)

    def __str__(self) -> str:
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{self.rest}"
