"""`tandemctl`, also `python -m tandemctl`."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from tandemctl import commands, feed
from tandemctl.client import Access, Client
from tandemctl.errors import INTERRUPTED, Problem
from tandemctl.options import make_parser
from tandemctl.output import warn, write
from tandemctl.session import forget_token, keep_token, log_in, log_out, read_token, token_file


async def _tail(client: Client, options: argparse.Namespace) -> None:
    await feed.Tail(client, options).run()


COMMANDS: Final[Mapping[str, Callable[[Client, argparse.Namespace], Awaitable[None]]]] = {
    "nodes": commands.nodes,
    "bindings": commands.bindings,
    "hints": commands.hints,
    "drain": commands.drain,
    "undrain": commands.undrain,
    "hang_up": commands.hang_up,
    "calls": feed.calls,
    "show_call": feed.show_call,
    "tail": _tail,
}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status; see `tandemctl --help`."""
    options = make_parser(os.environ).parse_args(argv)
    try:
        if options.run == "login":
            _log_in(options)
        elif options.run == "logout":
            _log_out(options)
        else:
            asyncio.run(_ask(options))
    except Problem as problem:
        warn(str(problem))
        return problem.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `tandemctl ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


async def _ask(options: argparse.Namespace) -> None:
    access = Access(
        server=options.server,
        events=options.events,
        token=options.token or read_token(token_file(os.environ)),
        ca=options.ca,
        cert=options.cert,
        key=options.key,
        name=options.name,
    )
    async with Client(access) as client:
        await COMMANDS[options.run](client, options)


def _log_in(options: argparse.Namespace) -> None:
    if options.password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass(f"Password of {options.username}: ")
    token = log_in(options.http, options.username, password, options.ca)
    path = token_file(os.environ)
    keep_token(path, token)
    write(f"logged in as {options.username}; the token is in {path}")


def _log_out(options: argparse.Namespace) -> None:
    path = token_file(os.environ)
    token = read_token(path)
    if not token:
        raise Problem("not logged in")
    # what is not on this machine any more can't be used from it, whatever the server says
    forget_token(path)
    log_out(options.http, token, options.ca)
    write("logged out")


if __name__ == "__main__":
    sys.exit(main())
