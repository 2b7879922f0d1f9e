"""name-addr and addr-spec with their parameters: From, To, Contact, Route, Record-Route, Path,
Refer-To and the like. RFC 3261 §20.10, §25.1."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from tandem.sip.errors import BadMessage
from tandem.sip.grammar import PARAM_RE, QUOTED, TOKEN, quote, split_list, unquote
from tandem.sip.uri import Params, Uri

# name-addr = [ display-name ] LAQUOT addr-spec RAQUOT
# display-name = *(token LWS) / quoted-string ; unquoted names with bytes beyond token are common
_NAME_ADDR_RE: Final = re.compile(
    rf"(?P<display>{QUOTED}\s*+|[^<>\",;:]*+)<(?P<uri>[^<>]*+)>", re.DOTALL
)  # possessive: what can't match must fail in linear time
# "If the URI is not enclosed in angle brackets, any semicolon-delimited parameters are
# header-parameters, not URI parameters." §20.10; and it may then hold no comma or question mark.
_ADDR_SPEC_RE: Final = re.compile(rf"(?P<uri>{TOKEN}:[^<>;,?\"\s]+)")


# Parameters as nearly all are: without blanks and quotes.
_PLAIN_PARAMS_RE: Final = re.compile(rf"(?:;{TOKEN}(?:=[^;,?\"\s]*)?)++")


@dataclass(frozen=True, slots=True)
class Address:
    """One address with its header parameters. `display` is unquoted; "" when there is none."""

    uri: Uri
    display: str = ""
    params: Params = ()

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse one address; raises BadMessage. Results are cached and shared."""
        return _parse(text)

    @classmethod
    def parse_list(cls, values: Iterable[str]) -> list[Address]:
        """Parse header values that may each hold several addresses."""
        return [_parse(item) for value in values for item in split_list(value)]

    def param(self, name: str) -> str | None:
        """A header parameter, unquoted ("" for one without value), None when it is absent."""
        for key, value in self.params:
            if key.lower() == name:
                return unquote(value) if value else ""
        return None

    @property
    def tag(self) -> str | None:
        """The `tag` parameter."""
        return self.param("tag")

    def with_tag(self, tag: str) -> Address:
        """A copy with this tag in place of any other."""
        kept = tuple(item for item in self.params if item[0].lower() != "tag")
        return replace(self, params=(*kept, ("tag", tag)))

    def __str__(self) -> str:
        text = f"<{self.uri}>"
        if self.display:
            text = f"{quote(self.display)} {text}"
        for name, value in self.params:
            text += f";{name}" if value is None else f";{name}={value}"
        return text


@lru_cache(maxsize=4096)
def _parse(text: str) -> Address:
    text = text.strip()
    match = _NAME_ADDR_RE.match(text)
    if match is not None:
        display, uri = match.groups()
    else:
        match = _ADDR_SPEC_RE.match(text)
        if match is None:
            raise BadMessage("Malformed address")
        display, uri = "", match[1]
    return Address(
        Uri.parse(uri.strip()), unquote(display.strip()), parse_params(text, match.end())
    )


def parse_params(text: str, at: int) -> Params:
    """Parse `*( SEMI generic-param )` from `at` to the end of `text`; raises BadMessage."""
    if at == len(text):
        return ()
    if _PLAIN_PARAMS_RE.fullmatch(text, at):
        pairs = [item.partition("=") for item in text[at + 1 :].split(";")]
        return tuple([(name, value if equals else None) for name, equals, value in pairs])
    params: list[tuple[str, str | None]] = []
    end = len(text)
    while at < end:
        match = PARAM_RE.match(text, at)
        if match is None:
            if text[at:].strip(" \t;"):
                raise BadMessage("Malformed header parameter")
            break
        params.append((match["name"], match["value"]))
        at = match.end()
    return tuple(params)
