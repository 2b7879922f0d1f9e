"""The command `tandem`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from services.local.config import LocalConfig, default_data_dir
from tandem import __version__
from tandem.runtime import logs
from tandem.runtime.address import HostPort
from tandem.runtime.lifecycle import bounded, settle, stop_signal

SERVICES: Final = ("proxy", "appserver", "provisioning", "events")
WRONG_SETTING: Final = 2
CANNOT_START: Final = 1
PRIVATE: Final = 0o077
"""The umask: databases hold password hashes, whoever made their folder."""

EPILOG: Final = """\
examples:
  tandem local                                   listen on port 5060, console on port 8080
  tandem local --sip 0.0.0.0:5070 --domain example.com
  tandem local --tls 0.0.0.0:5061 --ws 127.0.0.1:5066 --sip [::]:5060 --sip 0.0.0.0:5060

environment:
  TANDEM_ADMIN_PASSWORD   password of `admin` at the first start (else a random one is shown)
  TANDEM_DATA_DIR         as --data-dir
  TANDEM_RATE_LIMIT       messages per second taken from one address (1000; 0: no limit)
  TANDEM_TRIGGER_PRIVATE  1: providers of this network may be asked to call back, too
  TANDEM_PRIVATE_TARGETS  deny: no SIP servers of this network are called (allow); or networks
  TANDEM_CONTACT_HOST     address[:port] of this PC as telephone providers reach it
  TANDEM_DIGEST_ALGORITHMS  what phones are challenged with (MD5; or MD5,SHA-256,SHA-512-256)
  TANDEM_SMTP_URL         server for mails of dialplans, smtp://[USER:PASSWORD@]HOST[:PORT]
  TANDEM_SMTP_FROM        whom they are from
  and the other settings of the services: docs/configuration.md
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tandem`; returns the exit status: 2 for a wrong setting, 1 when it can't start."""
    options = _parser().parse_args(argv)
    if options.command in SERVICES:
        # each service reads its own TANDEM_* variables
        module = importlib.import_module(f"services.{options.command}.__main__")
        return int(module.main() or 0)
    if options.command == "db":
        return _db(options)
    try:
        config = _config(options, os.environ)
    except ValueError as error:
        return _complain(str(error), WRONG_SETTING)
    logs.set_up(options.log_level)
    os.umask(PRIVATE)
    try:
        return asyncio.run(_run(config))
    except KeyboardInterrupt:
        return CANNOT_START  # before the loop took signals, or a second one during the stop


def _db(options: argparse.Namespace) -> int:
    url = options.database_url or os.environ.get("TANDEM_DATABASE_URL", "")
    if not url:
        return _complain("name a database: --database-url or TANDEM_DATABASE_URL", WRONG_SETTING)
    logs.set_up("warning")
    os.umask(PRIVATE)
    from services.local import db  # not at the top: no other command needs both services' databases

    return db.run(options.action, url)


async def _run(config: LocalConfig) -> int:
    # What is made until all has started stays: looking for garbage in it costs a tenth of the time.
    gc.disable()
    async with stop_signal() as stop:
        # Not at the top: this loads every library there is, and --help needs none of them.
        from services.local.app import Local, SettingProblem, StartProblem

        local = Local(config)
        try:
            for line in await local.start():
                print(line)
            gc.enable()
            settle()
            print("ready: press Ctrl-C to stop", flush=True)
            await stop.wait()
        except SettingProblem as problem:
            return _complain(str(problem), WRONG_SETTING)
        except StartProblem as problem:
            return _complain(str(problem), CANNOT_START)
        finally:
            clean = await bounded(local.stop(), "tandem")
    return 0 if clean else CANNOT_START


def _complain(text: str, status: int) -> int:
    print(f"tandem: {text}", file=sys.stderr)
    return status


def _config(options: argparse.Namespace, environ: Mapping[str, str]) -> LocalConfig:
    given = {
        name: getattr(options, name)
        for name in (
            *("sip", "tls", "ws", "wss", "tls_cert", "tls_key"),
            *("http", "http_cert", "http_key", "fastagi", "grpc"),
        )
        if getattr(options, name) is not None
    }
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    domains = tuple(dict.fromkeys(_domain(text) for text in options.domain or ()))
    if domains:
        given["domains"] = domains
    return LocalConfig(
        data_dir=options.data_dir or default_data_dir(environ),
        contact_host=environ.get("TANDEM_CONTACT_HOST", ""),
        environ=environ,
        admin_password=environ.get("TANDEM_ADMIN_PASSWORD") or None,
        **given,
    )


def _domain(text: str) -> str:
    name = text.strip().rstrip(".").lower()
    labels = name.split(".")
    if not name or not all(label.replace("-", "").isalnum() for label in labels):
        raise ValueError(f"--domain {text!r} is no domain name")
    return name


def _listen(text: str) -> HostPort:
    try:
        return HostPort.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class _Parser(argparse.ArgumentParser):
    """Complains in one line, and names the help of the command that was given."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As always; what is too much is told by the command that does not know it."""
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            getattr(options, "parser", self).error(f"unrecognized arguments: {' '.join(rest)}")
        return options

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_SETTING, f"tandem: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="tandem", description="A programmable SIP switch.")
    parser.add_argument("--version", action="version", version=f"tandem {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    local = commands.add_parser(
        "local",
        help="all services in one process: registrar, switch, API, console",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = local.add_argument
    add("--data-dir", type=Path, metavar="DIR", help="databases, keys and certificate")
    add("--domain", action="append", metavar="D", help="serviced domain; repeat; first is default")
    add(
        "--sip",
        action="append",
        type=_listen,
        metavar="HOST:PORT",
        help="UDP and TCP (0.0.0.0:5060)",
    )
    add("--tls", action="append", type=_listen, metavar="HOST:PORT", help="SIP over TLS")
    add("--ws", action="append", type=_listen, metavar="HOST:PORT", help="SIP over WebSocket")
    add(
        "--wss",
        action="append",
        type=_listen,
        metavar="HOST:PORT",
        help="SIP over secure WebSocket",
    )
    add("--tls-cert", type=Path, metavar="PEM", help="certificate chain (else a self-signed one)")
    add("--tls-key", type=Path, metavar="PEM", help="its private key")
    add("--http", type=_listen, metavar="HOST:PORT", help="API and console (127.0.0.1:8080)")
    add("--http-cert", type=Path, metavar="PEM", help="certificate chain: then --http is HTTPS")
    add("--http-key", type=Path, metavar="PEM", help="its private key")
    add("--fastagi", type=_listen, metavar="HOST:PORT", help="FastAGI for Asterisk (port 4573)")
    add("--grpc", type=_listen, metavar="HOST:PORT", help="gRPC for tools (127.0.0.1:50051)")
    add("--log-level", choices=logs.LEVELS, default="warning", help="what to log (warning)")
    database = commands.add_parser(
        "db",
        help="the database's schema: bring it up to date, or tell it",
        description="The tables of provisioning and events. `upgrade` brings them up to date, and "
        "may run beside services that start; `current` tells how far they are, and ends with "
        "status 1 if that is not the newest.",
    )
    database.add_argument("action", choices=("upgrade", "current"))
    database.add_argument("--database-url", metavar="URL", help="(TANDEM_DATABASE_URL)")
    for name in SERVICES:
        commands.add_parser(name, help=f"run the {name} service alone, set by TANDEM_* variables")
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return parser
