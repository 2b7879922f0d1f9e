"""Who answers for a binding: sends its keep-alives, and says when it ends.

The node that took its REGISTER. While that one is lost or has stopped, one of the others does,
the same in the eyes of all: rendezvous hashing of the AOR over the live appservers. When it
comes back, the binding is its own again.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

from tandem.bus.location import Binding


class Ownership:
    """One node's view. Alone, it leaves the bindings of others alone."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._alive: frozenset[str] = frozenset()
        self._heirs: tuple[str, ...] = ()

    def set_alive(self, active: Collection[str], draining: Collection[str]) -> bool:
        """The appservers that are there, this one included; whether that is another set. Those
        that drain inherit nothing while there are others."""
        alive = frozenset((*active, *draining))
        heirs = tuple(sorted(active or draining))
        if alive == self._alive and heirs == self._heirs:
            return False
        self._alive, self._heirs = alive, heirs
        return True

    def owner_of(self, binding: Binding) -> str:
        """The id of the node that answers for it."""
        node = binding.node
        if node == self._node or node in self._alive or not self._heirs:
            return node
        return max(self._heirs, key=lambda heir: _weight(heir, binding.aor))

    def owns(self, binding: Binding) -> bool:
        """Whether this node answers for it."""
        return binding.node == self._node or self.owner_of(binding) == self._node


def _weight(node: str, aor: str) -> bytes:
    return blake2b(f"{node} {aor}".encode(), digest_size=8).digest()
