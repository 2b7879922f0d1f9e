"""The process that Ruby dialplans are forked from: `python -m tandem.dialplan.ruby_forks CODE FD`.

It starts one interpreter, prelude and all, and then only waits. Each run is a fork of it: the
interpreter is ready in some milliseconds, has nothing in it of another run, shares its memory with
the others until it writes, and can be ended at any time. Beside the WebAssembly sandbox, which is
what keeps a script in, the kernel holds the fork to its limits: processor time, memory, no files,
no further processes; and should the machine run out of memory, the scripts go first.
`ruby_frames` tells what is said to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import math
import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from tandem.dialplan.ruby_frames import (
    DONE,
    ENDED,
    FAULT,
    FORK,
    FRAME,
    KILL,
    ORDER,
    PROBLEMS,
    QUESTION,
)
from tandem.dialplan.ruby_vm import Crashed, Vm

_NICENESS = 10
"""Of those that compute for long: signalling goes before them."""
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # found before any fork

_USUAL = r"""
sys.Log("#{req.URI.User} #{req.Header.From.FromURI.User}")
case req.URI.User
when /^(\d)(\d*)$/ then sys.Dial("#{$1}@a", 20)
end
"a b".gsub(/a/) { $&.upcase }.split(" ").map { |part| part.to_s + "x" }.join(",")
Time.now.strftime("%H:%M")
begin; raise "x"; rescue => e; e.message; end
"""
"""Run once before anything is forked, so that what Ruby makes ready at its first use is ready."""


def main() -> None:
    """Serve forks until the control socket closes."""
    compiled, control = Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    run = Run()
    vm = Vm(compiled, run.ask)
    vm.evaluate("Tandem.main")
    gc.collect()
    gc.freeze()  # a collection in a fork would touch, and so copy, every object
    control.sendall(ENDED.pack(0, 0))  # ready
    Forks(control, run, vm).serve()


class Forks:
    """The runs under way."""

    def __init__(self, control: socket.socket, run: Run, vm: Vm) -> None:
        self._control = control
        self._run = run
        self._vm = vm
        self._numbers: dict[int, int] = {}
        """By process."""

    def serve(self) -> None:
        """Until whom we work for is gone."""
        try:
            self._serve()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it went while we told of an end
        finally:
            signal.set_wakeup_fd(-1)
            for process in self._numbers:
                os.kill(process, signal.SIGKILL)

    def _serve(self) -> None:
        wake, self._wakened = socket.socketpair()  # kept: signals come to the very end
        for end in (wake, self._wakened):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakened.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for our parent to act on
        while True:
            readable, _, _ = select.select([self._control, wake], [], [])
            if wake in readable:
                with contextlib.suppress(BlockingIOError):
                    wake.recv(4096)
                self._reap()
            if self._control in readable and not self._order():
                return

    def _order(self) -> bool:
        data, sockets, _, _ = socket.recv_fds(self._control, ORDER.size, 1)
        if len(data) < ORDER.size:
            return False
        order, number = ORDER.unpack(data)
        if order == FORK:
            self._fork(number, sockets[0])
            return True
        for process, other in self._numbers.items():
            if other == number and order == KILL:
                os.kill(process, signal.SIGKILL)
            elif other == number:
                niceness = os.getpriority(os.PRIO_PROCESS, 0) + _NICENESS
                os.setpriority(os.PRIO_PROCESS, process, niceness)
        return True

    def _fork(self, number: int, connection: int) -> None:
        try:
            process = os.fork()
        except OSError:
            self._control.sendall(ENDED.pack(number, -1))
        else:
            if process == 0:
                self._be_run(connection)
            self._numbers[process] = number
        os.close(connection)

    def _be_run(self, connection: int) -> NoReturn:
        status = 1
        try:
            _confine(connection)
            status = self._run.serve(socket.socket(fileno=connection), self._vm)
        except (EOFError, OSError):
            pass  # nobody listens any more
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while self._numbers:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                break
            number = self._numbers.pop(process)
            self._control.sendall(ENDED.pack(number, os.waitstatus_to_exitcode(status)))


class Run:
    """One run, in its fork."""

    def __init__(self) -> None:
        self._connection: socket.socket | None = None
        self._cpu_seconds = 0.0
        self._ahead = 0.0
        self._job: dict[str, Any] = {}
        self._end: tuple[bytes, bytes] = (DONE, b"")

    def serve(self, connection: socket.socket, vm: Vm) -> int:
        """Do the job that comes over the connection."""
        self._connection = connection
        self._job = json.loads(self._receive())
        vm.limit_memory(vm.memory_bytes() + self._job["memory_bytes"])
        vm.now = self._now
        self._set_clock(self._job["now"])
        self._cpu_seconds = self._job["cpu_seconds"]
        limit = math.ceil(self._job["total_cpu_seconds"])
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        self._arm()
        try:
            vm.evaluate("Tandem.main")
        except Crashed as error:
            if self._end[0] == DONE:
                self._end = (
                    b"f",
                    json.dumps([0, f"the interpreter gave up: {error}", "memory"]).encode(),
                )
        self._send(*self._end)
        return 0

    def ask(self, question: str) -> str:
        """Called by the interpreter: what is asked of the switch, and a little of ourselves."""
        if self._connection is None:
            return json.dumps({"value": _usual_job()})
        name, line, args, _ = json.loads(question)
        if name == "start":
            return json.dumps({"value": self._job})
        if name == "fault":
            self._end = (FAULT, json.dumps([line, *args]).encode())
        elif name == "problems":
            self._end = (PROBLEMS, json.dumps(args).encode())
        else:
            self._send(QUESTION, question.encode())
            answer = self._receive().decode()
            self._set_clock(json.loads(answer)["now"])
            self._arm()
            return answer
        return '{"value": null}'

    def _set_clock(self, now: float) -> None:
        """The world's time, which in a dry run is not the machine's."""
        self._ahead = now - time.monotonic()

    def _now(self) -> float:
        return self._ahead + time.monotonic()

    def _arm(self) -> None:
        """Processor time, not wall time: a busy machine must not end a script. The signal's own
        action ends the process, so nothing that runs in it can put that off."""
        signal.setitimer(signal.ITIMER_PROF, self._cpu_seconds)

    def _send(self, kind: bytes, data: bytes) -> None:
        assert self._connection is not None
        self._connection.sendall(FRAME.pack(kind, len(data)) + data)

    def _receive(self) -> bytes:
        _, size = FRAME.unpack(self._exactly(FRAME.size))
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        assert self._connection is not None
        data = bytearray()
        while len(data) < size:
            more = self._connection.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return bytes(data)


def _usual_job() -> dict[str, Any]:
    user = {"User": "1"}
    request = {"URI": user, "Header": {"From": {"FromURI": user}}}
    return {"source": _USUAL, "req": request, "seed": 1, "utc_offset": 0}


def _confine(connection: int) -> None:
    """Give up what a run has no use for."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.closerange(3, connection)
    os.closerange(connection + 1, 256)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (connection + 1, connection + 1))
    if _prctl:
        _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


if __name__ == "__main__":
    main()
