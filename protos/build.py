"""Generates `tandem/stubs` from the .proto files: `make protos`."""

from __future__ import annotations

import re
import shutil
import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
STUBS = PROTOS.parent / "tandem" / "stubs"
NOTE = '"""Generated from protos/ by `make protos`; not to be changed."""\n'


def main() -> int:
    """The exit status of the compiler."""
    shutil.rmtree(STUBS, ignore_errors=True)
    STUBS.mkdir()
    sources = sorted(str(path) for path in PROTOS.rglob("*.proto"))
    well_known = str(files("grpc_tools") / "_proto")
    # protoc writes tandem/<area>/v1 below the folder that it is given
    made = STUBS / "made"
    made.mkdir()
    outputs = [f"--{kind}_out={made}" for kind in ("python", "pyi", "grpc_python")]
    status = protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", *outputs, *sources])
    if status == 0:
        for area in (made / "tandem").iterdir():
            area.rename(STUBS / area.name)
        _finish()
    shutil.rmtree(made, ignore_errors=True)
    return int(status)


def _finish() -> None:
    """Make packages of the folders, and have the files import each other where they are."""
    for path in [*STUBS.rglob("*.py"), *STUBS.rglob("*.pyi")]:
        text = path.read_text()
        path.write_text(
            re.sub(r"\bfrom tandem\.(\w+)\.v1 import", r"from tandem.stubs.\1.v1 import", text)
        )
    for folder in [STUBS, *(path for path in STUBS.rglob("*") if path.is_dir())]:
        if folder.name != "made" and "made" not in folder.parts:
            (folder / "__init__.py").write_text(NOTE)


if __name__ == "__main__":
    sys.exit(main())
