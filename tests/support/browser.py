"""A headless Chromium, driven over the W3C WebDriver protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.installs import require
from tests.support.waiting import PATIENCE_SECONDS, eventually

CHROMIUM_OPTIONS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
STALE: Final = "stale element reference"
ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's id in answers (WebDriver §12.3)."""
COMMAND_SECONDS: Final = 60.0
"""A browser takes its time to start on a busy machine."""
STOP_SECONDS: Final = 10.0
Size = tuple[int, int]


class Browser:
    """One window with a profile of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._driver: asyncio.subprocess.Process | None = None
        self._output: asyncio.Task[bytes] | None = None
        self._client = httpx.AsyncClient(timeout=COMMAND_SECONDS, trust_env=False)
        self._session = ""

    async def start(self, size: Size = (1280, 900)) -> None:
        """Start the driver and the browser."""
        browser, driver = require("chromium"), require("chromedriver")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._driver = await asyncio.create_subprocess_exec(
            *(driver, "--port=0"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {"HOME": str(self._folder)},
        )
        self._client.base_url = httpx.URL(f"http://127.0.0.1:{await self._port()}")
        args = [*CHROMIUM_OPTIONS, f"--user-data-dir={self._folder / 'profile'}"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": browser, "args": args},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = await self._command("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{made['sessionId']}"
        await self.resize(size)

    async def _port(self) -> int:
        assert self._driver is not None
        assert self._driver.stdout is not None
        async with asyncio.timeout(COMMAND_SECONDS):
            while line := (await self._driver.stdout.readline()).decode():
                if "started successfully on port" in line:
                    self._output = asyncio.create_task(self._driver.stdout.read())
                    return int(line.rstrip(".\n").rsplit(" ", 1)[1])
        raise AssertionError("chromedriver ended before it listened")

    async def stop(self) -> None:
        """Close the browser and end the driver."""
        if self._session:
            await self._command("DELETE", self._session)
        await self._client.aclose()
        if self._driver is not None and self._driver.returncode is None:
            self._driver.terminate()
            await asyncio.wait_for(self._driver.wait(), STOP_SECONDS)
        if self._output is not None:
            await self._output

    async def _command(self, method: str, path: str, body: object = None) -> Any:
        content = None if method != "POST" else json.dumps(body or {})
        answer = await self._client.request(method, path, content=content)
        value = answer.json()["value"]
        assert answer.is_success, f"{method} {path} {body}: {value}"
        return value

    # -- what a person does --------------------------------------------------------------------

    async def open(self, address: str) -> None:
        """Go to a page."""
        await self._command("POST", f"{self._session}/url", {"url": address})

    async def resize(self, size: Size) -> None:
        """Make the page's area this wide and high, as on a device of that size."""
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        await self._command(
            "POST",
            f"{self._session}/goog/cdp/execute",
            {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics},
        )

    async def click(self, css: str) -> None:
        """Click the first visible element; it must be shown and not be covered."""

        async def look() -> bool:
            try:
                await self._command("POST", f"{await self._element(css)}/click")
            except AssertionError as error:
                if STALE in str(error):  # drawn anew since it was found, which nobody would notice
                    return False
                raise
            return True

        await eventually(look, f"{css} to stay for long enough to be clicked")

    async def fill(self, css: str, text: str) -> None:
        """Type into a field, in place of what is in it."""
        field = await self._element(css)
        await self._command("POST", f"{field}/clear")
        await self._command("POST", f"{field}/value", {"text": text})

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        await self._act(actions)

    async def paste(self, css: str) -> None:
        """Put what was copied into a field, in place of what is in it."""
        await self.fill(css, "")
        await self.click(css)
        control = {"value": "\ue009"}
        held = [{"type": kind, "value": "v"} for kind in ("keyDown", "keyUp")]
        await self._act([{"type": "keyDown", **control}, *held, {"type": "keyUp", **control}])

    async def _act(self, actions: list[dict[str, str]]) -> None:
        body = {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}
        await self._command("POST", f"{self._session}/actions", body)

    async def _element(self, css: str) -> str:
        using = {"using": "css selector", "value": css}
        found = await self._command("POST", f"{self._session}/element", using)
        return f"{self._session}/element/{found[ELEMENT]}"

    # -- what a person sees --------------------------------------------------------------------

    async def script(self, source: str, *args: object) -> Any:
        """What the body of a function returns in the page."""
        body = {"script": source, "args": args}
        return await self._command("POST", f"{self._session}/execute/sync", body)

    async def text(self, css: str) -> str:
        """The text that is shown in the first such element; empty if there is none."""
        source = "const e = document.querySelector(arguments[0]);"
        # innerText of an element that is not shown is all of its text
        source += "return e && e.checkVisibility() ? e.innerText : ''"
        return str(await self.script(source, css))

    async def shows(self, css: str, text: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Wait until the element shows this text; returns all that it shows."""

        async def look() -> str:
            seen = await self.text(css)
            return seen if text in seen else ""

        try:
            return await eventually(look, f"{text!r} in {css}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; {css} shows {await self.text(css)!r}") from None

    async def log(self) -> list[str]:
        """What the browser's console said since the last call: errors, CSP violations."""
        entries = await self._command("POST", f"{self._session}/se/log", {"type": "browser"})
        return [f"{entry['level']} {entry['message']}" for entry in entries]

    async def screenshot(self, path: Path) -> None:
        """A PNG of the window."""
        path.write_bytes(
            base64.b64decode(await self._command("GET", f"{self._session}/screenshot"))
        )
