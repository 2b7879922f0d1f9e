from __future__ import annotations

import os

import pytest

from tandem.runtime.ids import POOL_BYTES, RandomIds


def test_ids_are_hex_of_the_asked_length_and_differ() -> None:
    ids = RandomIds()
    made = [ids.hex() for _ in range(5000)] + [ids.hex(33)]
    assert len(set(made)) == 5001
    assert {len(text) for text in made} == {16, 33}
    assert set("".join(made)) <= set("0123456789abcdef")


def test_an_id_longer_than_the_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than the pool"):
        RandomIds().hex(2 * POOL_BYTES + 1)


def test_a_forked_child_makes_other_ids() -> None:
    ids = RandomIds()
    ids.hex()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, ids.hex().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    child = os.read(reader, 100).decode()
    os.close(reader)
    os.close(writer)
    assert len(child) == 16
    assert child != ids.hex()
