"""The calls of `sys` in a Python dialplan, with those of their arguments that are written out: as
literals, or as names that hold one and nothing else.

It is read by its tokens and neither parsed nor run: it is anybody's, and deep nesting costs no
stack here. What is not plain to see is passed over.
"""

from __future__ import annotations

import io
import re
import token
import tokenize
from ast import literal_eval
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

Tokens = Sequence[tokenize.TokenInfo]

_SPACE: Final = frozenset(
    {token.NL, token.COMMENT, token.INDENT, token.DEDENT, token.ENCODING, token.ENDMARKER}
)
_BINDERS: Final = frozenset(
    "as case class def del except for global import lambda nonlocal with :=".split()
)
"""A line with one of these may give any name in it another meaning."""
_ASSIGNING: Final = re.compile(r"(?:[-+*/%&|^@]|//|\*\*|<<|>>)?=")
_PLAIN: Final = re.compile(r"""(?P<quote>["'])[^\\\n]*(?P=quote)""")
_F_STRING: Final = re.compile(r"[rR]?[fF][rR]?[\"']")
_FLAT: Final = frozenset({"{", "}", "[", "]", ",", ":", "-", "True", "False", "None"})
MAX_TOKENS: Final = 30_000
"""Of a source; more than of any that somebody wrote by hand within the limit of its characters."""
MAX_TEXT: Final = 8_192
"""Characters of one argument that is looked at."""


@dataclass(frozen=True, slots=True)
class Given:
    """An argument that is written out."""

    value: Any
    line: int
    """Where it is, from 1."""
    column: int
    exact: bool = False
    """Whether it is a text that stands there character by character; `column` is its first's."""


@dataclass(slots=True)
class Call:
    """One use of a method of `sys`."""

    method: str
    line: int
    column: int
    positional: list[Given | None] = field(default_factory=list)
    """None: not known before it runs."""
    named: dict[str, Given] = field(default_factory=dict)
    formatted: list[tuple[int | str, Given]] = field(default_factory=list)
    """Pieces of arguments that are f-strings, as they are written, each with its argument's place
    or name."""


def calls(source: str) -> list[Call]:
    """All of them, in order; none if the tokens make no sense."""
    try:
        lines = list(_lines(source))
    except (tokenize.TokenError, SyntaxError, ValueError):
        return []
    if any(_broken(one) for line in lines for one in line):
        return []
    known = _constants(lines)
    return [call for line in lines for call in _calls(line, known)]


def _lines(source: str) -> Iterator[list[tokenize.TokenInfo]]:
    """The logical lines."""
    line: list[tokenize.TokenInfo] = []
    for count, one in enumerate(tokenize.generate_tokens(io.StringIO(source).readline)):
        if count > MAX_TOKENS:
            raise ValueError("too many tokens")
        if one.type == token.NEWLINE:
            yield line
            line = []
        elif one.type not in _SPACE:
            line.append(one)
    yield line


def _broken(one: tokenize.TokenInfo) -> bool:
    """Half of an f-string with its own quotes inside, which older tokenizers cut up."""
    text = one.string
    return bool(_F_STRING.match(text)) and text.count("{") != text.count("}")


def _constants(lines: Sequence[Tokens]) -> dict[str, Given]:
    """Names that are assigned once, at the outermost level, and to a literal."""
    bound: Counter[str] = Counter()
    found: dict[str, Given] = {}
    for line in lines:
        bound.update(one.string for one in _bound(line) if one.type == token.NAME)
        if len(line) > 2 and line[1].string == "=" and line[0].start[1] == 0:
            given = _literal(line[2:])
            if given is not None and line[0].type == token.NAME:
                found[line[0].string] = given
    return {name: given for name, given in found.items() if bound[name] == 1}


def _bound(line: Tokens) -> Tokens:
    """What in a line may get another meaning by it."""
    if any(one.string in _BINDERS for one in line):
        return line
    depth, last = 0, 0
    for at, one in enumerate(line):
        if one.type == token.OP:
            depth += (one.string in "([{") - (one.string in ")]}")
            if depth == 0 and _ASSIGNING.fullmatch(one.string):
                last = at
    return line[:last]


def _calls(line: Tokens, known: dict[str, Given]) -> Iterator[Call]:
    for at in range(len(line) - 3):
        texts = [one.string for one in line[at : at + 4]]
        if texts[0] == "sys" and texts[1] == "." and texts[3] == "(":
            if at and line[at - 1].string == ".":
                continue
            row, column = line[at].start
            yield _call(Call(texts[2], row, column + 1), line[at + 4 :], known)


def _call(call: Call, rest: Tokens, known: dict[str, Given]) -> Call:
    spread = False
    for part in _parts(rest):
        name = ""
        if len(part) > 2 and part[0].type == token.NAME and part[1].string == "=":
            name, part = part[0].string, part[2:]
        spread = spread or part[0].string == "*"
        given = known.get(part[0].string) if len(part) == 1 else None
        given = given or _literal(part)
        if name and given is not None:
            call.named[name] = given
        elif not name and not spread:
            call.positional.append(given)
        place = name or len(call.positional) - 1
        if name or not spread:
            call.formatted += [(place, piece) for piece in _formatted(part)]
    return call


def _parts(rest: Tokens) -> Iterator[Tokens]:
    """The arguments, up to the bracket that closes them."""
    depth, begin = 0, 0
    for at, one in enumerate(rest):
        if one.type != token.OP:
            continue
        if one.string in ("(", "[", "{"):
            depth += 1
        elif one.string in (")", "]", "}"):
            depth -= 1
        if depth < 0 or (depth == 0 and one.string == ","):
            if at > begin:
                yield rest[begin:at]
            begin = at + 1
        if depth < 0:
            return


def _literal(part: Tokens) -> Given | None:
    """A text, a number, or a dict or list of these; None: it is no such literal."""
    row, column = part[0].start
    texts = [one.string for one in part]
    if sum(map(len, texts)) > MAX_TEXT or not all(map(_is_flat, part)):
        return None
    if len(part) == 1 and _PLAIN.fullmatch(texts[0]):
        return Given(texts[0][1:-1], row, column + 2, exact=True)
    with suppress(SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return Given(literal_eval(" ".join(texts)), row, column + 1)
    return None


def _is_flat(one: tokenize.TokenInfo) -> bool:
    if one.type == token.STRING:
        return one.string[0] in "\"'rRuU" and not _F_STRING.match(one.string)
    return one.type == token.NUMBER or one.string in _FLAT


def _formatted(part: Tokens) -> Iterator[Given]:
    """The pieces of an f-string, which newer tokenizers take apart; none of anything else."""
    kinds = [token.tok_name[one.type] for one in part]
    whole = kinds[0] == "FSTRING_START" and kinds.index("FSTRING_END") == len(kinds) - 1
    if not whole and set(kinds) != {"STRING"}:
        return
    for one, kind in zip(part, kinds, strict=True):
        if kind == "FSTRING_MIDDLE" or (kind == "STRING" and _F_STRING.match(one.string)):
            yield Given(one.string, one.start[0], one.start[1] + 1, exact=True)
