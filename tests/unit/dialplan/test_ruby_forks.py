"""The process that Ruby dialplans are forked from, spoken to as the switch does."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tandem.dialplan import ruby_module
from tandem.dialplan.ruby_frames import ENDED, FORK, KILL, ORDER, SLOW
from tests.support.ruby import require_ruby

Forks = tuple[subprocess.Popen[bytes], socket.socket]


@pytest.fixture
def forks() -> Iterator[Forks]:
    """The process and its control socket, ready for orders."""
    require_ruby()
    code = ruby_module.compiled(ruby_module.home())
    assert code is not None
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    command = ["-m", "tandem.dialplan.ruby_forks", str(code), str(theirs.fileno())]
    process = subprocess.Popen(
        [sys.executable, *command], pass_fds=[theirs.fileno()], stderr=subprocess.PIPE
    )
    theirs.close()
    with process:
        assert ended(ours) == (0, 0)
        yield process, ours
        ours.close()
        process.kill()


def ended(control: socket.socket) -> tuple[int, int]:
    number, status = ENDED.unpack(control.recv(ENDED.size, socket.MSG_WAITALL))
    return number, status


def fork(control: socket.socket, number: int) -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(control, [ORDER.pack(FORK, number)], [theirs.fileno()])
    return ours


def test_a_run_whose_connection_closes_ends(forks: Forks) -> None:
    _, control = forks
    fork(control, 7).close()
    assert ended(control)[0] == 7


def test_a_run_is_ended_by_order_and_others_are_not(forks: Forks) -> None:
    _, control = forks
    first, second = fork(control, 1), fork(control, 2)
    control.sendall(ORDER.pack(SLOW, 1) + ORDER.pack(KILL, 99) + ORDER.pack(KILL, 2))
    assert ended(control) == (2, -9)
    first.close()
    assert ended(control)[0] == 1
    second.close()


def test_it_ends_in_silence_with_who_it_works_for(forks: Forks) -> None:
    process, control = forks
    connections = [fork(control, number) for number in range(1, 9)]
    for connection in connections[::2]:
        connection.close()
    control.close()
    assert process.wait(60) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    for connection in connections[1::2]:
        connection.settimeout(60)
        assert connection.recv(1) == b""  # its fork is gone, too
        connection.close()
