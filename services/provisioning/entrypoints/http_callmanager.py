"""/callmanager.svc: the call manager as programs of the original call it, by a URL alone; but with
an API key, which the original did not ask for.

Answers to whoever may ask are HTTP 200 with a text in XML, also those that say no. A caller who
may not ask gets a problem document.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from xml.sax.saxutils import escape

from fastapi import Request, Response

from services.provisioning.domain.callmanager import (
    CALLBACK_DIALPLAN,
    TRANSFER_DIALPLAN,
    CallRefused,
    Method,
    Refusal,
)
from services.provisioning.domain.callmanager_texts import SUCCESS, blank, refused, unexpected
from services.provisioning.domain.errors import Forbidden, Invalid, WrongCredentials
from services.provisioning.domain.rules import customer_username
from services.provisioning.domain.secrets import KEY_PREFIX
from services.provisioning.entrypoints.http_route import Cases, UseCases, routes, source_of
from services.provisioning.handlers.orders import Order
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.http import bearer_token
from tandem.rpc.sessions import MAX_TOKEN_LENGTH

NAMESPACE: Final = "http://schemas.microsoft.com/2003/10/Serialization/"
"""Of what the original's answers are made of."""

Act = Callable[[str], Awaitable[str]]
"""Does it for this customer; Tandem's id of the call."""

router = routes("/callmanager.svc", 401, 403, 429, tag="call manager")


@router.get("/isalive", summary="Whether calls are taken")
async def is_alive(cases: Cases) -> Response:
    """`true` while there is an application server; no key is needed."""
    return _xml("boolean", "true" if cases.call_manager.alive else "false")


@router.get("/webcallback", summary="Run the dialplan `webcallback`")
async def web_callback(
    request: Request, cases: Cases, user: str = "", number: str = ""
) -> Response:
    """`number` is what the dialplan sees as the user part of the Request-URI."""

    async def act(owner: str) -> str:
        return await cases.call_manager.run_dialplan(owner, CALLBACK_DIALPLAN, number)

    given = {"username": user, "number": number}
    return await _answer(Method.WEB_CALLBACK, request, cases, given, act, number)


@router.get("/blindtransfer", summary="Transfer a call by the dialplan `transfer`")
async def blind_transfer(
    request: Request, cases: Cases, user: str = "", destination: str = "", callid: str = ""
) -> Response:
    """`callid` names the leg that is to leave the call, `destination` is what the dialplan sees as
    the user part of the Request-URI."""

    async def act(owner: str) -> str:
        manager = cases.call_manager
        leg = await manager.find(owner, callid)
        return await manager.blind(owner, leg, destination, TRANSFER_DIALPLAN)

    given = {"username": user, "Call-ID": callid, "destination": destination}
    return await _answer(Method.BLIND_TRANSFER, request, cases, given, act, destination)


@router.get("/dualtransfer", summary="Join the far ends of two calls")
async def dual_transfer(
    request: Request, cases: Cases, user: str = "", callid1: str = "", callid2: str = ""
) -> Response:
    """`callid1` and `callid2` name the legs that are to leave their calls. An empty text: done."""

    async def act(owner: str) -> str:
        manager = cases.call_manager
        first, second = await manager.find(owner, callid1), await manager.find(owner, callid2)
        await manager.dual(owner, first, second)
        return first.ref.call_id

    given = {"username": user, "first Call-ID": callid1, "second Call-ID": callid2}
    return await _answer(Method.DUAL_TRANSFER, request, cases, given, act, None)


async def _answer(
    method: Method,
    request: Request,
    cases: UseCases,
    given: dict[str, str],
    act: Act,
    destination: str | None,
) -> Response:
    """The checks in the original's order; who asks comes after what is missing."""
    for what, value in given.items():
        if not value.strip():
            return _string(blank(method, what))
    owner = _owner(given["username"])
    try:
        by = await _authorise(method, request, cases, owner, destination)
        order = Order(
            customer=owner,
            order=method,
            destination=destination or "",
            source=source_of(request),
            by=by,
        )
        await cases.call_manager.check_customer(owner)
        with cases.orders.told(order):
            order.call_id = await act(owner)
    except CallRefused as fault:
        return _string(refused(method, fault))
    except Invalid as fault:
        return _string(refused(method, CallRefused(Refusal.BAD_DESTINATION, str(fault))))
    except DirectoryUnavailable:
        return _string(unexpected(method))
    return _string(SUCCESS[method])


def _owner(user: str) -> str:
    """The user, "" for what can be nobody's name: then there is no such user."""
    try:
        return customer_username(user.strip())
    except ValueError:
        return ""


async def _authorise(
    method: Method, request: Request, cases: UseCases, owner: str, destination: str | None
) -> str:
    """By a key of this user or of an administrator, whose name is returned, or by an address that
    needs none."""
    token = _token(request)
    if not token:
        await cases.open_methods.admit(owner, method, source_of(request), destination)
        return ""
    holder = await cases.sessions.verify(token)
    if holder is None:
        raise WrongCredentials("This API key is unknown or has expired.")
    if holder.username != owner and not holder.admin:
        raise Forbidden("This API key belongs to another user.", "user")
    return holder.username


def _token(request: Request) -> str:
    """`Authorization: Bearer`, `X-API-Key`, `apikey`, or `key=` in the URL. A log-in's token has no
    place in a URL."""
    token = bearer_token(request) or request.headers.get("apikey", "").strip()
    key = request.query_params.get("key", "")
    if not token and key:
        # what is no key of ours must not pass for none
        token = key if key.startswith(KEY_PREFIX) else "?"
    return token[: MAX_TOKEN_LENGTH + 1]


def _string(text: str) -> Response:
    return _xml("string", text)


def _xml(kind: str, text: str) -> Response:
    return Response(
        f'<{kind} xmlns="{NAMESPACE}">{escape(text)}</{kind}>',
        media_type="application/xml; charset=utf-8",
        headers={"Cache-Control": "no-store"},
    )
