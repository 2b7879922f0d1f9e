"""Settings from TANDEM_* variables into one frozen dataclass per service.

The field `http_listen: HostPort` is read from TANDEM_HTTP_LISTEN. A field takes its default when
its variable is missing or empty. Types: str, int, float, bool, HostPort, pathlib.Path, a Literal
of strings, `tuple[T, ...]` (commas between) and `T | None`. A field may say more with `setting`.
A ValueError from the dataclass's `__post_init__` is a ConfigError too.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from tandem.runtime.address import HostPort

T = TypeVar("T")

PREFIX: Final = "TANDEM_"
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


class ConfigError(Exception):
    """A setting is wrong or missing; its text is the one line to show before exit status 2."""


def check_otlp_endpoint(text: str) -> None:
    """Raises ValueError for an `otlp_endpoint` that names no collector; empty is fine."""
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        right = False
    if text and not right:
        raise ValueError(f"TANDEM_OTLP_ENDPOINT: {text!r} is no http://HOST:PORT")


def setting(
    default: Any = MISSING,
    *,
    env: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """A dataclass field with bounds, or with a variable of another name. No default: required."""
    metadata = {"env": env, "minimum": minimum, "maximum": maximum}
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def load(cls: type[T], environ: Mapping[str, str]) -> T:
    """Make a `cls` from the environment. Raises ConfigError."""
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for item in fields(cls):  # type: ignore[arg-type]  # any dataclass: there is no bound to say so
        name = variable(item)
        text = environ.get(name, "").strip()
        if text:
            values[item.name] = _value(name, text, hints[item.name], item.metadata)
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(f"{name} is not set")
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def variable(item: Field[Any]) -> str:
    """The name of the variable that a field is read from."""
    return item.metadata.get("env") or PREFIX + item.name.upper()


def _value(name: str, text: str, kind: Any, metadata: Mapping[str, Any]) -> Any:
    try:
        value = _parse(text, kind)
        _check(value, metadata)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
    return value


def _parse(text: str, kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(arg for arg in get_args(kind) if arg is not type(None))
    if get_origin(kind) is tuple:
        parts = (part.strip() for part in text.split(","))
        return tuple(_parse(part, get_args(kind)[0]) for part in parts if part)
    if get_origin(kind) is Literal:
        return _choice(text, get_args(kind))
    return _SCALARS[kind](text)


def _check(value: Any, metadata: Mapping[str, Any]) -> None:
    minimum, maximum = metadata.get("minimum"), metadata.get("maximum")
    for number in value if isinstance(value, tuple) else (value,):
        if minimum is not None and number < minimum:
            raise ValueError(f"{number} is below the least, {minimum}")
        if maximum is not None and number > maximum:
            raise ValueError(f"{number} is above the most, {maximum}")


def _choice(text: str, choices: tuple[Any, ...]) -> str:
    if text not in choices:
        raise ValueError(f"{text!r} is none of {', '.join(choices)}")
    return text


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _float(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a number")
    return number


def _bool(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() in _TRUE


_SCALARS: Final[Mapping[Any, Any]] = {
    str: str,
    int: _int,
    float: _float,
    bool: _bool,
    Path: Path,
    HostPort: HostPort.parse,
}
