"""What both ends of `tandem.callcontrol.v1.CallControl` must agree on."""

from __future__ import annotations

import re
from typing import Final

MAX_SIGNAL_BYTES: Final = 8 * 1024
"""Of one signal: what an application has collected, no files."""
MAX_DESTINATION: Final = 255
"""Characters of a number or user that a dialplan is run for."""
MAX_DIALPLAN: Final = 64
"""Characters of a dialplan's name."""
MAX_DIAL: Final = 2_000
"""Characters of a dial string: 20 legs with their options."""
MAX_IDENTIFIER: Final = 255
"""Characters of what names a leg: Call-IDs are shorter, and so is a From."""
_KEY: Final = re.compile(r"[^\s/\x00-\x1f\x7f]{1,128}")


def signal_key(key: str) -> str:
    """The key of a signal. Raises ValueError."""
    if not _KEY.fullmatch(key) or not key.isprintable():
        raise ValueError("1 to 128 characters, no spaces and no /")
    return key


def destination(text: str, most: int = MAX_DESTINATION) -> str:
    """What is to be called. Raises ValueError: it gets into SIP headers."""
    text = text.strip()
    if not 0 < len(text) <= most or not text.isprintable():
        raise ValueError(f"1 to {most} characters, no line breaks or control characters")
    return text
