"""Which of two versions of a binding holds."""

from __future__ import annotations

from tandem.bus.location import Binding


def newer(one: Binding, other: Binding) -> bool:
    """Whether `one` holds and not `other`: of one Call-ID the higher CSeq (RFC 3261 §10.3 step 7),
    for which no clock counts; of two Call-IDs, or of one REGISTER that two nodes took, the later
    registration, and failing that the greater node id."""
    if one.call_id == other.call_id:
        return _within(one) > _within(other)
    return _between(one) > _between(other)


def _within(binding: Binding) -> tuple[int, float, str]:
    return binding.cseq, binding.registered_at, binding.node


def _between(binding: Binding) -> tuple[float, str, str]:
    return binding.registered_at, binding.node, binding.call_id
