"""CSeq."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.sip.cseq import MAX_CSEQ, CSeq
from tandem.sip.errors import BadMessage


@given(st.integers(0, MAX_CSEQ), st.sampled_from(["INVITE", "x-%41!"]))
def test_parsing_and_text_are_inverse(number: int, method: str) -> None:
    assert CSeq.parse(str(CSeq(number, method))) == CSeq(number, method)


def test_leading_zeros_and_blanks_do_not_matter() -> None:
    assert CSeq.parse("0009 \t INVITE") == CSeq(9, "INVITE")


@pytest.mark.parametrize(
    "text", ["", "1", "INVITE", "1INVITE", "-1 BYE", "1 B YE", f"{MAX_CSEQ + 1} BYE",
             "9" * 30 + " A", "1\u00a0BYE", "² BYE"],
)  # fmt: skip
def test_malformed_values_are_refused(text: str) -> None:
    with pytest.raises(BadMessage):
        CSeq.parse(text)
