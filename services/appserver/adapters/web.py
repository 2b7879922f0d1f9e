"""HTTP requests for customers: what asks providers to call back, and what their dialplans ask.
Their addresses come from customers, so what may be reached is checked: the name is resolved once,
every address of it is judged, and the connection goes to the address that was judged, whatever the
name means a moment later.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlencode

import httpx

from services.appserver.domain.callbacks import Trigger
from services.appserver.handlers.shares import Shares
from services.appserver.ports import Page

logger = logging.getLogger(__name__)

MAX_ANSWER: Final = 65_536
"""Bytes of an answer that are read: of one that nobody needs, too, so that it is seen to be
taken."""
MAX_ADDRESSES: Final = 4
"""Addresses of one name that are tried."""
MAX_LOOK_UPS: Final = 32
"""Names that are looked up at once, each by a thread."""
MAX_CUSTOMER_LOOK_UPS: Final = 4
"""Of them, those of one customer, whose others wait: names whose servers are silent keep their
threads for long."""
NAT64: Final = IPv6Network("64:ff9b::/96")
AGENT: Final = "Tandem"

Resolve = Callable[[str, int, str], Awaitable[Sequence[str]]]
"""From a host and a port to its addresses, for this customer. Raises OSError."""


class HttpxWeb:
    """`services.appserver.ports.Web`. `private` lets it reach any address; `context` is for
    certificates of one's own."""

    def __init__(
        self,
        *,
        private: bool = False,
        context: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._private = private
        self._context = context
        self._resolve = resolve or _Names()

    async def fetch(self, trigger: Trigger, seconds: float, customer: str) -> Page:
        """Send the request. Never raises; nothing but the host and the status is told to others."""
        try:
            async with asyncio.timeout(seconds):
                return await self._fetch(trigger, customer)
        except TimeoutError:
            return Page(0, problem="no answer in time")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            # its text may hold the URL
            logger.info("request to %s failed: %s", trigger.host, type(error).__name__)
            return Page(0, problem="can't be reached")

    async def _fetch(self, trigger: Trigger, customer: str) -> Page:
        url = httpx.URL(trigger.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        host = url.raw_host.decode("ascii")
        addresses = (await self._resolve(host, port, customer))[:MAX_ADDRESSES]
        if not addresses:
            return Page(0, problem="its name leads nowhere")
        if not self._private and not all(is_public(address) for address in addresses):
            return Page(0, problem="its address is not a public one")
        for number, address in enumerate(addresses, start=1):
            try:
                return await self._send(trigger, url, address)
            except httpx.ConnectError:
                if number == len(addresses):
                    raise
        raise AssertionError("the last address either answered or failed")

    async def _send(self, trigger: Trigger, url: httpx.URL, address: str) -> Page:
        """To this very address, as the host that the URL names: in Host, and for TLS."""
        headers = [("Host", url.netloc.decode("ascii"))]
        names = {name.lower() for name, _ in trigger.headers}
        if "user-agent" not in names:
            headers.append(("User-Agent", AGENT))
        headers += trigger.headers
        content = trigger.body
        if trigger.form:
            content = urlencode(trigger.form).encode()
            if "content-type" not in names:
                headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        async with (
            self._client() as client,
            client.stream(
                trigger.verb,
                url.copy_with(host=address),
                headers=[(name.encode(), value.encode("latin-1")) for name, value in headers],
                content=content or None,
                extensions={"sni_hostname": url.raw_host.decode("ascii")},
                follow_redirects=False,
            ) as answer,
        ):
            body = await _read(answer)
            return Page(
                answer.status_code,
                body,
                answer.headers.get("content-type", ""),
                tuple(answer.headers.get_list("set-cookie")),
            )

    def _client(self) -> httpx.AsyncClient:
        """One for each request: cookies and connections of one customer are not another's."""
        if self._context is None:
            self._context = httpx.create_ssl_context()
        # a proxy that the environment names would resolve the name anew
        return httpx.AsyncClient(
            verify=self._context,
            trust_env=False,
            timeout=None,
            headers={"Accept-Encoding": "identity"},
        )


async def _read(answer: httpx.Response) -> bytes:
    """The beginning of the body; an answer that breaks off is no failure. What is packed all the
    same stays so, for it may grow to any size."""
    body = bytearray()
    with suppress(httpx.HTTPError):
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) >= MAX_ANSWER:
                break
    return bytes(body[:MAX_ANSWER])


def is_public(text: str) -> bool:
    """Whether an address is one of the Internet; of an IPv6 one that holds an IPv4 address, both
    must be."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:  # just another way to write it
            return is_public(str(address.ipv4_mapped))
        inner = _inner(address)
        if address.is_site_local or (inner is not None and not is_public(str(inner))):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inner(address: IPv6Address) -> IPv4Address | None:
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.sixtofour or (teredo[1] if teredo else None)


class _Names:
    """The system's resolver. It blocks a thread for as long as a name's servers keep silent, though
    nobody waits any more: so it has threads of its own, or names that customers choose would hold
    up all else that is done beside the loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MAX_LOOK_UPS, "web-names")
        self._busy = 0
        self._shares = Shares(MAX_CUSTOMER_LOOK_UPS)

    async def __call__(self, host: str, port: int, customer: str) -> Sequence[str]:
        await self._shares.take(customer)
        if self._busy >= MAX_LOOK_UPS:
            self._shares.give_back(customer)
            raise OSError("too many names are looked up")
        self._busy += 1
        loop = asyncio.get_running_loop()
        found = loop.run_in_executor(self._threads, _look_up, host, port)
        found.add_done_callback(lambda _: self._done(customer))
        return await asyncio.shield(found)  # the thread goes on when nobody waits any more

    def _done(self, customer: str) -> None:
        self._busy -= 1
        self._shares.give_back(customer)


def _look_up(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
