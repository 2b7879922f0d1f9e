"""Reading a customer's text from left to right, and faults that point at the character."""

from __future__ import annotations

import re
from typing import Final, NoReturn

SHOWN: Final = 72
"""Characters of a long text that a fault shows, so that its caret stays on a console's line."""


class DialStringError(ValueError):
    """A dial string (or a piece of one) makes no sense. `position` counts from 0. Shown with the
    text and a caret below the character."""

    def __init__(self, text: str, position: int, message: str) -> None:
        super().__init__(message)
        self.text = text
        self.position = position
        self.message = message

    def __str__(self) -> str:
        start = max(0, min(self.position - SHOWN // 2, len(self.text) - SHOWN))
        part = self.text[start : start + SHOWN]
        shown = "".join([char if char.isprintable() else "?" for char in part])
        return f"{self.message}\n  {shown}\n  {' ' * (self.position - start)}^"


class Scanner:
    """A text and the place in it that is looked at."""

    def __init__(self, text: str, at: int = 0) -> None:
        self.text = text
        self.at = at
        self.shown = text
        """What faults show in its place: without passwords."""

    @property
    def char(self) -> str:
        """The character here, "" at the end."""
        return self.text[self.at : self.at + 1]

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """What matches here, which is passed over."""
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
        return match

    def skip(self, text: str) -> bool:
        """Pass over this text; False if it is not here."""
        if not self.text.startswith(text, self.at):
            return False
        self.at += len(text)
        return True

    def blanks(self) -> None:
        """Pass over blanks."""
        while self.char == " ":
            self.at += 1

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        """Raise DialStringError for the character here, or at this place."""
        raise DialStringError(self.shown, self.at if at is None else at, message)

    def refuse_controls(self) -> None:
        """No line break, no control character, nothing that can't be shown: it would leave in a
        header, or deceive who reads the text."""
        for at, char in enumerate(self.text):
            if not char.isprintable():
                self.fail(f"character U+{ord(char):04X} can't stand in a dial string", at)
