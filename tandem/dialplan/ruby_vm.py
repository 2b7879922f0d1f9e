"""CRuby as WebAssembly: one instance of it, and the little that it is given of the world.

The module is compiled for WASI. Of WASI it gets a clock, random bytes and an output that leads
nowhere; every other call of it fails, so there is no file, no network and no process that a
script could reach. The one way out is `JS.eval(text)`, which hands a text to `ask` and gives its
answer back: on that the prelude builds `sys`.
"""

from __future__ import annotations

import os
import platform
import struct
import time
from collections.abc import Callable
from pathlib import Path

from wasmtime import (
    Config,
    Engine,
    Func,
    FuncType,
    Instance,
    Linker,
    Memory,
    Module,
    Store,
    WasmtimeError,
)

PRELUDE = Path(__file__).with_name("ruby_prelude.rb")

# WASI's error numbers
_SUCCESS, _EBADF, _EINVAL, _ENOSYS = 0, 8, 28, 52
_CHARACTER_DEVICE = 2
_ALL_RIGHTS = 0xFFFFFFFF
_LAST_STANDARD_FD = 2

_EVAL = "rb-eval-string-protect: func(str: string) -> tuple<handle<rb-abi-value>, s32>"
_INIT = "ruby-init: func(args: list<string>) -> ()"
_ARGUMENTS = ("ruby", "-EUTF-8", "-W0", "--disable-gems", "-e_=0")


class Crashed(Exception):
    """The interpreter itself came to an end."""


_TARGETS = {
    ("Linux", "x86_64"): "x86_64-unknown-linux-gnu",
    ("Linux", "aarch64"): "aarch64-unknown-linux-gnu",
    ("Darwin", "x86_64"): "x86_64-apple-darwin",
    ("Darwin", "arm64"): "aarch64-apple-darwin",
}
"""Any processor of the kind, not only this one: an image is built on one machine and runs on
others. Measured, it costs nothing."""


def new_engine(target: str = "") -> Engine:
    """An engine for modules that `compile_module` made: both sides must be set alike."""
    config = Config()
    config.wasm_component_model = False
    config.parallel_compilation = False  # no threads: this process forks
    if target:
        config.target = target
    return Engine(config)


def compile_module(source: bytes) -> bytes:
    """Machine code for a module. Takes a quarter of a minute of a processor."""
    engine = new_engine(_TARGETS.get((platform.system(), platform.machine()), ""))
    return bytes(Module(engine, source).serialize())


class Vm:
    """One Ruby interpreter."""

    def __init__(self, compiled: Path, ask: Callable[[str], str]) -> None:
        self.ask = ask
        """Answers what the script asks of the switch."""
        self.now = time.time
        """Unix time as the script sees it."""
        engine = new_engine()
        self._module = Module.deserialize_file(engine, str(compiled))
        self._store = Store(engine)
        self._answers: dict[int, bytes] = {}
        self._last_answer = 0
        self._values: list[int] = []
        self._exports = self._instantiate(engine).exports(self._store)
        memory = self._exports["memory"]
        assert isinstance(memory, Memory)
        self._memory = memory
        self._call("_initialize")
        self._start_ruby()

    def _instantiate(self, engine: Engine) -> Instance:
        linker = Linker(engine)
        for wanted in self._module.imports:
            name = (wanted.name or "").split(":")[0]
            action = getattr(self, "_" + name.replace("-", "_"), None)
            if action is None:
                action = _refuse if wanted.module == "wasi_snapshot_preview1" else _nothing
            kind = wanted.type
            assert isinstance(kind, FuncType)
            function = Func(self._store, kind, action)
            linker.define(self._store, wanted.module, wanted.name or "", function)
        return linker.instantiate(self._store, self._module)

    def _start_ruby(self) -> None:
        table = self._call("cabi_realloc", 0, 0, 4, len(_ARGUMENTS) * 8)
        for index, argument in enumerate(_ARGUMENTS):
            place = self._put(argument.encode() + b"\0")
            self._write(table + 8 * index, struct.pack("<II", *place))
        self._call(_INIT, table, len(_ARGUMENTS))
        self.evaluate(PRELUDE.read_text(encoding="utf-8"))

    def memory_bytes(self) -> int:
        """Of the interpreter with all that is in it now."""
        return int(self._memory.data_len(self._store))

    def limit_memory(self, size: int) -> None:
        """Have it get no more than this from now on."""
        self._store.set_limits(memory_size=size)

    def evaluate(self, source: str) -> None:
        """Run Ruby text of our own. Raises Crashed if it fails or takes the interpreter down."""
        try:
            result = self._call(_EVAL, *self._put(source.encode()))
        except WasmtimeError as error:
            raise Crashed(str(error).splitlines()[0]) from error
        _, state = struct.unpack("<II", self._read(result, 8))
        if state:
            raise Crashed(f"state {state}")

    # memory of the guest

    def _call(self, name: str, *args: int) -> int:
        function = self._exports[name]
        assert isinstance(function, Func)
        return int(function(self._store, *args) or 0)

    def _read(self, at: int, size: int) -> bytes:
        return bytes(self._memory.read(self._store, at, at + size))

    def _write(self, at: int, data: bytes) -> None:
        self._memory.write(self._store, data, at)

    def _put(self, data: bytes) -> tuple[int, int]:
        at = self._call("cabi_realloc", 0, 0, 1, max(1, len(data)))
        self._write(at, data)
        return at, len(data)

    # the way out

    def _eval_js(self, at: int, size: int, result: int) -> None:
        question = self._read(at, size).decode("utf-8", "replace")
        self._last_answer += 1
        self._answers[self._last_answer] = self.ask(question).encode()
        self._write(result, struct.pack("<II", 0, self._last_answer))

    def _js_value_to_string(self, handle: int, result: int) -> None:
        self._write(result, struct.pack("<II", *self._put(self._answers.pop(handle, b""))))

    def _resource_new_rb_abi_value(self, value: int) -> int:
        self._values.append(value)
        return len(self._values) - 1

    def _resource_get_rb_abi_value(self, handle: int) -> int:
        return self._values[handle]

    # WASI

    def _environ_sizes_get(self, count: int, size: int) -> int:
        self._write(count, bytes(4))
        self._write(size, bytes(4))
        return _SUCCESS

    def _environ_get(self, _table: int, _text: int) -> int:
        return _SUCCESS

    def _clock_res_get(self, _clock: int, result: int) -> int:
        self._write(result, struct.pack("<Q", 1_000))
        return _SUCCESS

    def _clock_time_get(self, clock: int, _precision: int, result: int) -> int:
        seconds = self.now() if clock == 0 else time.monotonic()
        self._write(result, struct.pack("<Q", int(seconds * 1e9)))
        return _SUCCESS

    def _random_get(self, at: int, size: int) -> int:
        self._write(at, os.urandom(size))
        return _SUCCESS

    def _fd_prestat_get(self, _fd: int, _result: int) -> int:
        return _EBADF

    def _fd_fdstat_get(self, fd: int, result: int) -> int:
        if fd > _LAST_STANDARD_FD:
            return _EBADF
        self._write(result, struct.pack("<BxHxxxxQQ", _CHARACTER_DEVICE, 0, _ALL_RIGHTS, 0))
        return _SUCCESS

    def _fd_filestat_get(self, fd: int, result: int) -> int:
        if fd > _LAST_STANDARD_FD:
            return _EBADF
        self._write(result, bytes(64))
        return _SUCCESS

    def _fd_read(self, fd: int, _vectors: int, _count: int, result: int) -> int:
        if fd != 0:
            return _EBADF
        self._write(result, bytes(4))
        return _SUCCESS

    def _fd_write(self, fd: int, vectors: int, count: int, result: int) -> int:
        if fd > _LAST_STANDARD_FD:
            return _EBADF
        sizes = struct.unpack(f"<{2 * count}I", self._read(vectors, 8 * count))[1::2]
        self._write(result, struct.pack("<I", sum(sizes) & 0xFFFFFFFF))
        return _SUCCESS

    def _poll_oneoff(self, subscriptions: int, events: int, count: int, result: int) -> int:
        """Whatever is waited for has come: a script sleeps by asking the switch to."""
        if not count:
            return _EINVAL
        user = self._read(subscriptions, 8)
        self._write(events, user + bytes(24))
        self._write(result, struct.pack("<I", 1))
        return _SUCCESS

    def _proc_exit(self, code: int) -> None:
        raise Crashed(f"exit {code}")


def _refuse(*_: int) -> int:
    return _ENOSYS


def _nothing(*_: int) -> None:
    return None
