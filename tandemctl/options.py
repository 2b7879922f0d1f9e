"""The options of `tandemctl`, and their help."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from tandem import __version__
from tandemctl.errors import USAGE

SERVER: Final = "127.0.0.1:50051"
HTTP: Final = "http://127.0.0.1:8080"
DRAIN_SECONDS: Final = 600.0

EPILOG: Final = """\
examples:
  tandemctl login --http http://127.0.0.1:8080 admin
  tandemctl nodes
  tandemctl calls
  tandemctl calls show 3f0c2a
  tandemctl bindings --aor ann@example.com --json
  tandemctl drain appserver2 --wait
  tandemctl events tail --filter 'type=call.* and owner=ann'

environment:
  TANDEM_GRPC_URL     as --server          TANDEM_TOKEN       as --token
  TANDEM_EVENTS_URL   as --events          TANDEM_HTTP_URL    as --http of login
  TANDEM_GRPC_CA, TANDEM_GRPC_CERT, TANDEM_GRPC_KEY, TANDEM_GRPC_NAME
                      as --ca, --cert, --key, --name

exit status: 0 done, 1 failed, 2 wrong usage, 3 no such node or call, 4 not logged in or not allowed
"""
TAIL_EPILOG: Final = """\
The stream goes on over the death of an events node: another one continues it after the last event
that was shown. Where events are no longer kept, a line on standard error says which are missing.

examples:
  tandemctl events tail
  tandemctl events tail --filter 'type=registration.*' --json | jq .message
  tandemctl events tail --cursor 0               all that is kept, then what happens
  tandemctl events tail --traces ann             with the SIP messages of the customer ann
"""


class Parser(argparse.ArgumentParser):
    """Complains in one line, and names the help of the command that was given."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As always; what is too much is told by the command that does not know it."""
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            getattr(options, "parser", self).error(f"unrecognized arguments: {' '.join(rest)}")
        return options

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"tandemctl: {message} (see {self.prog} --help)\n")


def make_parser(environ: Mapping[str, str]) -> Parser:
    """`options.run` names what is to be done."""
    parser = Parser(
        prog="tandemctl",
        description="Look after a Tandem cluster.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tandemctl {__version__}")
    _connection(parser, environ)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _session(commands, environ)
    _ops(commands)
    _feed(commands)
    return parser


def _connection(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    add = parser.add_argument

    def file(name: str) -> Path | None:
        given = environ.get(f"TANDEM_GRPC_{name}", "")
        return Path(given) if given else None

    add(
        "--server",
        metavar="HOST:PORT",
        default=environ.get("TANDEM_GRPC_URL") or SERVER,
        help=f"gRPC of provisioning, several with commas ({SERVER})",
    )
    add(
        "--events",
        metavar="HOST:PORT",
        default=environ.get("TANDEM_EVENTS_URL", ""),
        help="gRPC of the events nodes (else provisioning tells)",
    )
    add(
        "--token",
        default=environ.get("TANDEM_TOKEN", ""),
        help="a token or API key (else that of tandemctl login)",
    )
    add("--ca", type=Path, metavar="PEM", default=file("CA"), help="authority of the servers")
    add("--cert", type=Path, metavar="PEM", default=file("CERT"), help="our certificate chain")
    add("--key", type=Path, metavar="PEM", default=file("KEY"), help="its private key")
    add(
        "--name",
        default=environ.get("TANDEM_GRPC_NAME", ""),
        help="the name in the servers' certificates, if it is not their host",
    )
    add("--json", action="store_true", help="JSON instead of a table")


Commands = argparse._SubParsersAction  # it has no public name


def _command(commands: Commands[Parser], name: str, run: str, text: str, **more: str) -> Parser:
    parser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=more.get("epilog"),
    )
    parser.set_defaults(run=run, parser=parser)
    # also after the command; where it is absent the general one counts
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    return parser


def _session(commands: Commands[Parser], environ: Mapping[str, str]) -> None:
    for name, text in (
        ("login", "log in and keep the token in ~/.config/tandem/token"),
        ("logout", "end the session and remove its token"),
    ):
        parser = _command(commands, name, name, text)
        parser.add_argument(
            "--http",
            metavar="URL",
            default=environ.get("TANDEM_HTTP_URL") or HTTP,
            help=f"the REST API ({HTTP})",
        )
        if name == "login":
            parser.add_argument("username", nargs="?", default="admin", help="(admin)")
            parser.add_argument(
                "--password-stdin", action="store_true", help="read the password, do not ask"
            )


def _ops(commands: Commands[Parser]) -> None:
    _command(commands, "nodes", "nodes", "list the nodes, lost ones included")
    bindings = _command(commands, "bindings", "bindings", "list the phones that are registered")
    bindings.add_argument("--aor", default="", metavar="USER@DOMAIN", help="of one account")
    bindings.add_argument("--owner", default="", metavar="CUSTOMER", help="of one customer")
    _command(commands, "hints", "hints", "list the calls that wait for a callback")
    drain = _command(commands, "drain", "drain", "have a node take nothing new")
    drain.add_argument("node", metavar="NODE", help="its id, as in tandemctl nodes")
    drain.add_argument(
        "--wait",
        nargs="?",
        type=_seconds,
        const=DRAIN_SECONDS,
        metavar="SECONDS",
        help=f"until its last call has ended, at most so long ({DRAIN_SECONDS:g})",
    )
    undrain = _command(commands, "undrain", "undrain", "have a draining node take part again")
    undrain.add_argument("node", metavar="NODE")


def _feed(commands: Commands[Parser]) -> None:
    calls = _command(commands, "calls", "calls", "list, show and end calls")
    parts = calls.add_subparsers(metavar="list|show|hangup")
    _command(parts, "list", "calls", "list the calls under way on all appservers")
    for name, run, text in (
        ("show", "show_call", "show a call, under way or ended, with its events"),
        ("hangup", "hang_up", "end a call"),
    ):
        _command(parts, name, run, text).add_argument("call", metavar="ID", help="Tandem's id")
    events = commands.add_parser("events", help="follow what happens on all nodes")
    tails = events.add_subparsers(required=True, metavar="tail")
    tail = _command(tails, "tail", "tail", "follow what happens on all nodes", epilog=TAIL_EPILOG)
    add = tail.add_argument
    add("--filter", default="", metavar="F", help="which events, as in the REST API")
    add("--cursor", type=_cursor, metavar="N", help="begin after this id; 0: the oldest kept")
    add("--count", type=_cursor, metavar="N", help="end after so many events")
    add(
        "--traces",
        nargs="?",
        const="",
        metavar="CUSTOMER",
        help="with SIP messages: one's own, or a customer's, or * for all (administrators)",
    )


def _cursor(text: str) -> int:
    if not text.isdecimal() or int(text[:20]) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _seconds(text: str) -> float:
    if not text.isdecimal() or not 0 < int(text[:9]) <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to a day")
    return float(text)
