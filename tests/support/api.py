"""The REST API as the tests use it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment in the event log and in the call records."""

    cursor: int
    records: int


class Api:
    """One client, logged in. `authority` is what its HTTPS is checked against."""

    def __init__(self, base: str, authority: ssl.SSLContext | None = None) -> None:
        self.client = httpx.AsyncClient(
            base_url=base, timeout=20, trust_env=False, verify=authority or True
        )

    async def log_in(self, username: str, password: str) -> None:
        """All further requests carry the token."""
        answer = await self.client.post(
            "/api/v1/login", json={"username": username, "password": password}
        )
        answer.raise_for_status()
        self.client.headers["Authorization"] = f"Bearer {answer.json()['token']}"

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()

    async def get(self, path: str, **params: object) -> Any:
        """The JSON at `/api/v1` + path."""
        answer = await self.client.get(
            f"/api/v1{path}",
            params={k: str(v) for k, v in params.items()},
            headers={"Accept": "application/json"},
        )
        answer.raise_for_status()
        return answer.json()

    async def add_account(self, username: str, password: str, **fields: object) -> dict[str, Any]:
        """A SIP account in the default domain."""
        body = {"username": username, "password": password, **fields}
        answer = await self.client.post("/api/v1/sip-accounts", json=body)
        answer.raise_for_status()
        made: dict[str, Any] = answer.json()
        return made

    async def bindings_of(self, aor: str) -> list[dict[str, Any]]:
        """The registrations of one address-of-record."""
        page = await self.get("/bindings", count=1000)
        return [item for item in page["items"] if item["aor"] == aor]

    async def bound(self, aor: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until this address-of-record has so many registrations."""

        async def look() -> list[list[dict[str, Any]]]:
            found = await self.bindings_of(aor)
            return [found] if len(found) == count else []

        return (await eventually(look, f"{count} binding(s) of {aor}"))[0]

    # -- what happened -------------------------------------------------------------------------

    async def mark(self) -> Mark:
        """Remember now, once no call is under way."""
        await self.no_calls()
        page = await self.get("/events", count=1)
        records = await self.get("/cdrs", count=1)
        return Mark(page["cursor"], records["total"])

    async def no_calls(self) -> None:
        """Wait until no call is under way."""

        async def look() -> bool:
            return bool((await self.get("/calls"))["total"] == 0)

        await eventually(look, "the end of all calls")

    async def live_call(self, state: str | None = None) -> dict[str, Any]:
        """Wait for the one call under way (in this state) and return it."""

        async def look() -> dict[str, Any] | None:
            calls = (await self.get("/calls"))["items"]
            right = [call for call in calls if state is None or call["state"] == state]
            return right[0] if len(right) == 1 else None

        found = await eventually(look, f"a call ({state})")
        assert found is not None
        return found

    async def record_after(self, mark: Mark, seconds: float = 15.0) -> dict[str, Any]:
        """Wait for the one call record made since `mark`; fails if there are several."""

        async def look() -> list[dict[str, Any]]:
            page = await self.get("/cdrs", count=10)
            new = page["total"] - mark.records
            return list(page["items"][:new])

        found = await eventually(look, "a call record", seconds)
        await self.no_calls()
        found = await look()
        assert len(found) == 1, found
        return found[0]

    async def events_after(self, mark: Mark) -> list[dict[str, Any]]:
        """All events since `mark`, oldest first."""
        page = await self.get("/events", cursor=mark.cursor, count=1000)
        return list(page["items"])

    async def event_after(
        self, mark: Mark, type_: str, nth: int = 1, **data: object
    ) -> dict[str, Any]:
        """Wait for the nth event of this type, and with this data, since `mark`."""

        async def look() -> list[dict[str, Any]]:
            found = [
                event
                for event in await self.events_after(mark)
                if event["type"] == type_ and data.items() <= event["data"].items()
            ]
            return found if len(found) >= nth else []

        return (await eventually(look, f"event {nth} of {type_} {data}"))[nth - 1]

    async def call_events(self, record: dict[str, Any]) -> list[str]:
        """The types of the events of a recorded call, in order."""
        call = await self.get(f"/calls/{record['id']}")
        return [event["type"] for event in call["events"]]
