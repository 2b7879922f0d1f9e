"""`make bench`: each row of work beside its peer, both figures from one run on this machine."""

from __future__ import annotations

import argparse
import platform
import sys

from bench import calls, forward, register
from bench.support import Missing

PARTS = {"forward": forward.run, "register": register.run, "calls": calls.run}


def main() -> int:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help=", ".join(PARTS))
    names = parser.parse_args().parts or list(PARTS)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    rows = [("work", "Tandem", "peer", "ratio", "target")]
    for name in names:
        print(f"measuring {name} ...", flush=True)
        try:
            rows += PARTS[name]()
        except Missing as missing:
            rows.append((name, "-", str(missing), "-", "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
