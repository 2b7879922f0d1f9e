"""Tandem: a programmable SIP switch that runs as two of everything."""

from typing import Final

__version__: Final = "0.1.0"
