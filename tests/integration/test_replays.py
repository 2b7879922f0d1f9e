"""Calls that were made, run again on other dialplans, as the events API shows them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.office import Office, busy, picking_up
from tests.support.switch import Switch

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOURCE = "if sys.dial('reception@local', 20) == 'failed':\n    sys.dial('900@answering')\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(switch: Switch, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    made = Office(switch, tmp_path_factory.mktemp("replays"))
    yield made
    await made.close()


async def test_a_call_does_the_same_again_and_something_else_on_another_version(
    switch: Switch, office: Office
) -> None:
    await office.phone("reception", busy)
    await office.gateway("answering", picking_up)
    caller = await office.caller(SOURCE)
    mark = await switch.api.mark()
    await caller.run("call", callee="2127")
    record = await switch.api.record_after(mark)
    assert record["status"] == 200
    call = await switch.api.get(f"/calls/{record['id']}")
    listed = (await switch.api.get("/dialplans?count=1000"))["items"]
    key = next(d["id"] for d in listed if d["name"] == f"plan{office.number}")

    async def again(**program: str) -> dict[str, Any]:
        body = {"calls": [call], **program}
        answer = await switch.api.client.post(f"/api/v1/dialplans/{key}/replay", json=body)
        answer.raise_for_status()
        assert answer.json()["skipped"] == []
        (found,) = answer.json()["calls"]
        assert isinstance(found, dict)
        return found

    same = await again()
    assert same["dialled_before"] == ["reception@local", "900@answering"]
    assert (same["differs"], same["unsure"], same["status_now"]) == (False, False, 200)
    other = await again(language="python", source="sys.dial('reception@local')")
    assert other["differs"] is True
    assert other["dialled_now"] == ["reception@local"]
    assert (other["status_before"], other["status_now"]) == (200, 486)
