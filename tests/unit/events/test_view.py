"""Who is shown which SIP traces, and whose are asked for."""

from __future__ import annotations

import asyncio

import pytest

from services.events.domain.filters import parse_filter
from services.events.domain.view import EVERYBODY, View
from services.events.handlers.viewing import Forbidden, make_view
from services.events.handlers.watched import HOLD_SECONDS, Watched
from tandem.bus.interest import Interest
from tandem.rpc.sessions import Principal
from tests.support.events import stored
from tests.support.waiting import eventually
from tests.unit.events.test_handlers import Said

ALICE, ADMIN = Principal("alice"), Principal("root", admin=True)
TRACE = stored(1, "sip.trace", owners=("alice",))
OF_NOBODY = stored(2, "sip.trace", owners=())


@pytest.mark.parametrize(
    ("filter", "shown"),
    [("", False), ("type=*", False), ("type=*.trace", False), ("text=x", False),
     ("type=sip.trace", True), ("type=call.*,sip.*", True), ("type=call.*", False)],
)  # fmt: skip
def test_a_filter_shows_traces_only_if_it_names_them(filter: str, shown: bool) -> None:
    view = View(ALICE, parse_filter(filter))
    assert view.shows(TRACE) is shown
    assert view.any_traces is shown


@pytest.mark.parametrize(
    ("view", "shown"),
    [
        (View(ALICE, traces="alice"), (True, False)),
        (View(ADMIN, traces="alice"), (True, False)),
        (View(ADMIN, traces="bob"), (False, False)),
        (View(ADMIN, traces=EVERYBODY), (True, True)),
        (View(Principal("bob"), traces=EVERYBODY), (False, False)),
        (View(ADMIN), (False, False)),
    ],
)
def test_traces_are_shown_of_whom_they_were_asked_for(view: View, shown: tuple[bool, bool]) -> None:
    assert (view.shows(TRACE), view.shows(OF_NOBODY)) == shown


def test_traces_of_others_are_for_administrators() -> None:
    assert make_view(ALICE, "", traces=True).traces == "alice"
    assert make_view(ALICE, "", traces=True, trace_customer="alice").traces == "alice"
    assert make_view(ALICE, "", trace_customer="bob").traces is None
    assert make_view(ADMIN, "", traces=True, trace_customer="bob").traces == "bob"
    for customer in ("bob", "*"):
        with pytest.raises(Forbidden) as caught:
            make_view(ALICE, "", traces=True, trace_customer=customer)
        assert caught.value.field == "trace_customer"


async def test_an_interest_is_repeated_while_somebody_watches_and_no_longer() -> None:
    said = Said()
    watched = Watched(said, lambda: 100.0, repeat_seconds=0.001)
    with watched.by_console(None):
        assert said.payloads == []
    with watched.by_console("alice"):
        assert said.payloads == [Interest("alice", 100.0 + HOLD_SECONDS)]
        with watched.by_console("alice"), watched.by_console("bob"):
            assert len(watched) == 2

        async def repeated() -> bool:
            return len(said.payloads) >= 5

        await eventually(repeated, "repetitions")
        assert said.payloads[-1] == Interest("alice", 100.0 + HOLD_SECONDS)
    count = len(said.payloads)
    await asyncio.sleep(0.01)
    assert len(said.payloads) == count
    assert len(watched) == 0
