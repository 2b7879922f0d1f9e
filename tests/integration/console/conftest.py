"""One running program and one browser for all tests of this folder; each has a fresh page."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.browser import Browser
from tests.support.consolepage import WIDE, ConsolePage
from tests.support.switch import Switch


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def switch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Switch]:
    """The real program; it must end cleanly."""
    made = Switch(tmp_path_factory.mktemp("switch") / "data")
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """One window for all tests."""
    made = Browser(tmp_path_factory.mktemp("browser"))
    try:
        await made.start(WIDE)
        yield made
    finally:
        await made.stop()


@pytest_asyncio.fixture(loop_scope="package")
async def page(browser: Browser, switch: Switch) -> AsyncIterator[ConsolePage]:
    """Not logged in. Whatever the test did, the browser had nothing to report (no violation of the
    policy, no error of a script) but answers of 4xx, which Chromium calls errors."""
    await browser.resize(WIDE)
    made = ConsolePage(browser, switch)
    await made.open()
    yield made
    await made.close()
    log = [line for line in await browser.log() if not line.startswith("DEBUG")]
    assert [line for line in log if "responded with a status of 4" not in line] == []
