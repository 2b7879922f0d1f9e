"""`python -m tests.support.rpc_server NAME [HOST:PORT]`: a Directory of its own process, to be
killed. It writes its address."""

from __future__ import annotations

import asyncio
import sys

from tandem.rpc.security import Security
from tandem.runtime.address import HostPort
from tests.support.rpc import LOOPBACK, Known, serving

KEY = "a secret of all nodes"


async def main() -> None:
    """Serve until killed."""
    listen = HostPort.parse(sys.argv[2]) if len(sys.argv) > 2 else LOOPBACK
    async with serving(Known(sys.argv[1]), Security(cluster_key=KEY), listen) as server:
        sys.stdout.write(f"{server.address}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
