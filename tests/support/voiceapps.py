"""The dialplan of docs/voice-applications.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PAGE: Final = (Path(__file__).parents[2] / "docs" / "voice-applications.md").read_text()

(MENU,) = re.findall(r"<!-- menu -->\n```python\n(.*?)```", PAGE, re.DOTALL)
