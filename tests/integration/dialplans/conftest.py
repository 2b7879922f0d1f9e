"""A customer's phones and dialplans at one running program for each module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.office import Office
from tests.support.switch import Switch


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(switch: Switch, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    """Those of the administrator, who is a customer too."""
    made = Office(switch, tmp_path_factory.mktemp("office"))
    yield made
    await made.close()
