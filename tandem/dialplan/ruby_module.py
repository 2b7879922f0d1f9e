"""Where the Ruby interpreter is, and its machine code.

`ruby.wasm` is no part of Tandem's own packages: `make ruby` puts it into the virtual environment,
compiled. Compiling takes a quarter of a minute, so what is compiled is kept: beside it, or, should
that have been made by another version of wasmtime and the place not be ours to write, in the user's
cache folder.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Final

PACKAGE: Final = "@ruby/3.4-wasm-wasi@2.10.1"
"""CRuby 3.4, built for WASI by its own authors, as npm has it."""
NAME: Final = "ruby.wasm"
SHA256: Final = "4b814fc9d13505ea5b4c1f3bd3a7cc7ccca137f551196b9b21f0a7caf9cc5878"
"""Of the one file that is taken for it, `dist/ruby+stdlib.wasm` of `PACKAGE`."""


class NotInstalled(Exception):
    """There is no Ruby here; the text says what to do."""

    def __init__(self) -> None:
        super().__init__(
            "Ruby dialplans are not installed on this server: its operator has to run `make ruby`"
        )


def home() -> Path:
    """Where `make ruby` puts it."""
    return Path(sys.prefix) / "share" / "tandem"


def installed(folder: Path) -> Path:
    """The module. Raises NotInstalled."""
    module = folder / NAME
    if not module.is_file():
        raise NotInstalled
    return module


def compiled(folder: Path) -> Path | None:
    """The machine code for this machine and this wasmtime, if it is there."""
    for place in (folder, _cache()):
        code = place / _code_name()
        if code.is_file() and code.stat().st_uid in (0, os.getuid()):  # it is run as it is
            return code
    return None


def compile_into_place(folder: Path) -> Path:
    """Make the machine code. Takes a processor for a quarter of a minute. Raises NotInstalled."""
    from tandem.dialplan.ruby_vm import compile_module

    source = installed(folder).read_bytes()
    if hashlib.sha256(source).hexdigest() != SHA256:
        raise NotInstalled
    code = compile_module(source)
    place = folder if os.access(folder, os.W_OK) else _cache()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=place, delete=False) as file:
        file.write(code)
    os.chmod(file.name, 0o644)  # a service may run as another user than who installs
    Path(file.name).replace(place / _code_name())
    return place / _code_name()


def _code_name() -> str:
    """The module's hash, wasmtime's version and the kind of machine make other code."""
    version = importlib.metadata.version("wasmtime")
    machine = f"{platform.system().lower()}-{platform.machine()}"
    return f"ruby-{SHA256[:12]}-wasmtime-{version}-{machine}.code"


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "tandem"


if __name__ == "__main__":
    compile_into_place(Path(sys.argv[1]))
