"""`python -m deploy.local`: start a cluster on this machine and watch it until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from deploy.local.child import StartFailed
from deploy.local.cluster import LocalCluster
from deploy.local.folder import FolderProblem
from deploy.local.plan import DEFAULT_DOMAIN, Plan
from deploy.local.programs import Missing
from deploy.local.table import show
from tandem.runtime.lifecycle import stop_signal

WRONG: Final = 2
FAILED: Final = 1
MAX_DOMAIN: Final = 253
"""Characters of a domain name (RFC 1035 §2.3.4)."""
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
EPILOG: Final = """\
examples:
  make cluster
  make cluster ARGS="--port-base 21000 --domain example.com"
  make cluster ARGS="--host 192.168.1.20"            phones of the same network reach it
  make cluster ARGS="--proxies 3 --appservers 4"

The administrator's password is TANDEM_ADMIN_PASSWORD at the first start, or else a random one.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 2 for a wrong option or a missing program, 1 when it can't start."""
    parser = _parser()
    options = parser.parse_args(argv)
    if (options.tls_cert is None) != (options.tls_key is None):
        parser.error("--tls-cert and --tls-key go together")
    plan = Plan(
        proxies=options.proxies,
        appservers=options.appservers,
        events=options.events,
        host=options.host,
        domains=tuple(options.domain or (DEFAULT_DOMAIN,)),
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
    )
    try:
        cluster = LocalCluster(
            options.data_dir or default_data_dir(),
            plan,
            port_base=options.port_base,
            admin_password=os.environ.get("TANDEM_ADMIN_PASSWORD") or None,
            tell=_tell,
        )
        return asyncio.run(_run(cluster, restart=options.restart))
    except (FolderProblem, Missing) as problem:
        sys.stderr.write(f"tandem cluster: {problem}\n")
        return WRONG
    except KeyboardInterrupt:
        return FAILED


def default_data_dir() -> Path:
    """The user's own folder for data; for root one that the servers' users may enter."""
    if os.geteuid() == 0:
        return Path("/var/lib/tandem-cluster")
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "tandem-cluster"


async def _run(cluster: LocalCluster, *, restart: bool) -> int:
    async with stop_signal() as stop:
        status = 0
        try:
            cluster.prepare()
            _tell(f"starting in {cluster.folder.path} ...")
            starting = asyncio.ensure_future(cluster.start())
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if starting.done():
                starting.result()
                for line in show(cluster):
                    _tell(line)
                _tell("ready: press Ctrl-C to stop")
                await cluster.watch(stop, restart=restart)
            else:
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
        except StartFailed as problem:
            sys.stderr.write(f"tandem cluster: {problem}\n")
            status = FAILED
        finally:
            if cluster.children():
                _tell("stopping ...")
            await cluster.stop()
            if cluster.children():
                _tell("stopped")
    return status


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class _Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG, f"tandem cluster: {message} (see --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m deploy.local",
        description="A Tandem cluster on this machine, for trying it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data-dir", type=Path, metavar="DIR", help=f"all that is kept ({default_data_dir()})")
    add("--port-base", type=_port_base, metavar="N", help="take ports from N on, in order")
    add("--host", type=_host, default="127.0.0.1", help="IPv4 address for phones and browsers")
    add(
        "--domain",
        action="append",
        type=_domain,
        metavar="D",
        help=f"SIP domain; repeat ({DEFAULT_DOMAIN})",
    )
    for name in ("proxies", "appservers", "events"):
        add(f"--{name}", type=_count, default=2, metavar="N", help="how many (2)")
    add("--tls-cert", type=_file, metavar="PEM", help="certificate chain, for SIP over TLS and WSS")
    add("--tls-key", type=_file, metavar="PEM", help="its private key")
    add("--no-restart", dest="restart", action="store_false", help="leave dead what died")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 20")
    return int(text)


def _port_base(text: str) -> int:
    if not text.isdecimal() or not 1024 <= int(text) <= 65_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1024 to 65000")
    return int(text)


def _host(text: str) -> str:
    if not _is_ipv4(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an IPv4 address")
    if ipaddress.IPv4Address(text).is_unspecified:
        raise argparse.ArgumentTypeError("0.0.0.0 is everywhere: name one address of this computer")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((text, 0))
        except OSError:
            said = f"{text} is no address of this computer"
            raise argparse.ArgumentTypeError(said) from None
    return text


def _domain(text: str) -> str:
    name = text.rstrip(".").lower()
    labels = name.split(".")
    right = len(name) <= MAX_DOMAIN and all(map(_LABEL.fullmatch, labels))
    if not right or (labels[-1].isdigit() and not _is_ipv4(name)):
        raise argparse.ArgumentTypeError(f"{text!r} is no domain name")
    return name


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file() or not os.access(path, os.R_OK):
        raise argparse.ArgumentTypeError(f"{text}: there is no such file that can be read")
    return path


if __name__ == "__main__":
    sys.exit(main())
