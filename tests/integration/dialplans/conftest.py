"""A customer's phones and dialplans at one running program, for all tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.baresip import Baresip
from tests.support.office import Office
from tests.support.switch import Switch


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def switch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Switch]:
    """The real program; it must end cleanly."""
    made = Switch(tmp_path_factory.mktemp("switch") / "data")
    try:
        await made.start(environment={"TANDEM_TRIGGER_PRIVATE": "1"})
        yield made
    finally:
        await made.stop()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def office(switch: Switch, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    """That of the administrator, who is a customer too."""
    made = Office(switch, tmp_path_factory.mktemp("office"))
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="package")
async def phones() -> AsyncIterator[list[Baresip]]:
    """Phones for one test are put in here; what is still running is stopped after it."""
    phones: list[Baresip] = []
    yield phones
    for phone in phones:
        await phone.stop()
