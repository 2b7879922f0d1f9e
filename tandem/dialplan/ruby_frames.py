"""What a Ruby fork, the process that it comes from and the switch say to each other.

Over the control socket go orders of nine bytes: FORK and a number, with a socket for the new run,
KILL and the number of one to end, or SLOW and the number of one that is to stand back. Back comes,
when a run has ended, its number and how.

Over a run's own socket go frames: its job; then what the script asks and what is answered; and at
last how it went.
"""

from __future__ import annotations

import struct
from typing import Final

ORDER: Final = struct.Struct("!cQ")
FORK: Final = b"r"
KILL: Final = b"k"
SLOW: Final = b"s"

ENDED: Final = struct.Struct("!Qi")
"""The exit status is a signal's number with a minus. Number 0: the process is ready for orders."""

FRAME: Final = struct.Struct("!cI")
MAX_FRAME_BYTES: Final = 1024 * 1024
"""Of what a script may ask at once."""

JOB: Final = b"j"
QUESTION: Final = b"c"
ANSWER: Final = b"a"
DONE: Final = b"d"
FAULT: Final = b"f"
PROBLEMS: Final = b"p"
"""What a check found."""

LOST: Final = b""
"""Not sent: it ended without a word."""
TOO_MUCH: Final = b"!"
"""Not sent: what it says is too long to be read."""
