"""Two instances of provisioning on one database."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.support.provisioning import ADMIN_PASSWORD, CUSTOMER_PASSWORD, running


async def test_of_two_that_remove_each_other_as_administrators_one_stays(database: str) -> None:
    async with running(database) as one, running(database) as two, await one.admin() as admin:
        second = {"username": "second", "password": CUSTOMER_PASSWORD, "admin": True}
        assert (await admin.post("/api/v1/customers", json=second)).status_code == 201
        async with await two.login("second", CUSTOMER_PASSWORD) as other:
            answers = await asyncio.gather(
                admin.patch("/api/v1/customers/second", json={"admin": False}),
                other.patch("/api/v1/customers/admin", json={"admin": False}),
            )
            # refused as the last one, or as no administrator any more: as the second word arrived
            assert sorted(answer.status_code for answer in answers) in ([200, 404], [200, 409])
            winner = admin if answers[0].status_code == 200 else other
            assert (await winner.get("/api/v1/customers")).json()["total"] == 2


async def test_of_two_that_make_the_same_account_one_gets_it(database: str) -> None:
    async with running(database) as one, running(database) as two:
        async with await one.admin() as here, await two.login("admin", ADMIN_PASSWORD) as there:
            answers = await asyncio.gather(
                *(
                    client.post(
                        "/api/v1/sip-accounts", json={"username": f"u{n}", "password": "rosebud"}
                    )
                    for n in range(20)
                    for client in (here, there)
                )
            )
            assert (await there.get("/api/v1/sip-accounts")).json()["total"] == 20
    assert Counter(answer.status_code for answer in answers) == {201: 20, 409: 20}
