"""What all HTTP surfaces share: problem documents (RFC 9457), tokens, a limit on bodies.

    app = FastAPI(...)
    install(app)
    caller = principal(sessions)          # a dependency: Depends(caller) gives a Principal or 401

Whatever goes wrong, the answer is `application/problem+json`; where a field is at fault, `field`
names the first and `errors` lists all.
"""

from __future__ import annotations

import http
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tandem.rpc.directory import DirectoryUnavailable, OutcomeUnknown
from tandem.rpc.sessions import MAX_TOKEN_LENGTH, Principal, Sessions, bearer

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 1024
"""Bytes of a request body: a long dialplan fits several times over; more is nobody's mistake."""

MAX_ERRORS = 20
"""Faults listed in one problem document: enough to mend a form."""

RETRY_AFTER_SECONDS = 5
"""Seconds that a client is asked to wait when something behind us is away."""

PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {
        "description": f"{http.HTTPStatus(code).phrase}: a problem document (RFC 9457)",
        "content": {
            "application/problem+json": {
                "schema": {
                    "type": "object",
                    "required": ["status", "title"],
                    "properties": {
                        "type": {"type": "string", "examples": ["about:blank"]},
                        "status": {"type": "integer", "examples": [code]},
                        "title": {"type": "string", "examples": [http.HTTPStatus(code).phrase]},
                        "detail": {"type": "string"},
                        "field": {"type": "string", "description": "The field at fault."},
                        "errors": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {
                                    "field": {"type": "string"},
                                    "detail": {"type": "string"},
                                    "line": {"type": "integer", "description": "From 1."},
                                    "column": {"type": "integer", "description": "From 1."},
                                },
                            },
                        },
                    },
                }
            }
        },
    }
    for code in (401, 403, 404, 409, 413, 422, 429, 503)
}
"""For OpenAPI: `APIRouter(responses={n: PROBLEM_RESPONSES[n] for n in (401, 422)})`."""


class Problem(HTTPException):
    """An error that the client gets as a problem document.

    `errors` is a sequence of (field, what is wrong with it); `field` and `detail` alone do for one.
    `places` are the line and column of each, for a field that holds a program; 0: unknown.
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        title: str | None = None,
        field: str | None = None,
        errors: Sequence[tuple[str, str]] = (),
        places: Sequence[tuple[int, int]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.title = title or http.HTTPStatus(status).phrase
        self.errors = tuple(errors) or (((field, detail),) if field else ())
        self.places = tuple(places)
        self.field = field or (self.errors[0][0] if self.errors else None)
        super().__init__(status, detail, dict(headers) if headers else None)

    def document(self) -> dict[str, Any]:
        """The members of the problem document."""
        body: dict[str, Any] = {"type": "about:blank", "title": self.title, "status": self.status}
        if self.detail:
            body["detail"] = self.detail
        if self.errors:
            body["field"] = self.field
            body["errors"] = [{"field": name, "detail": text} for name, text in self.errors]
            for error, (line, column) in zip(body["errors"], self.places, strict=False):
                error |= {"line": line, "column": column} if line else {}
        return body

    def response(self) -> Response:
        """The answer to send."""
        return JSONResponse(
            self.document(), self.status, self.headers, media_type="application/problem+json"
        )


def unavailable(detail: str) -> Problem:
    """503 with Retry-After: something behind us is away, and nothing was changed."""
    return Problem(503, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def install(app: FastAPI, *, max_body_bytes: int = MAX_BODY_BYTES) -> None:
    """Make every error of `app` a problem document, and limit the bodies it takes."""
    app.add_exception_handler(StarletteHTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(DirectoryUnavailable, _on_unavailable)
    app.add_middleware(_Guard, max_body_bytes=max_body_bytes)


def bearer_token(connection: HTTPConnection, *, in_query: bool = False) -> str | None:
    """The token of a request: `Authorization: Bearer …` (RFC 6750 §2.1) or `X-API-Key: …`.

    A browser can set no header on a WebSocket or an EventSource, so for those, and wherever
    `in_query` says so, `?access_token=…` (§2.3) counts too.
    """
    headers = connection.headers
    token = bearer(headers.get("authorization", "")) or headers.get("x-api-key", "")
    if not token and (in_query or _cannot_set_headers(connection)):
        token = connection.query_params.get("access_token", "")
    token = token.strip()
    return token if 0 < len(token) <= MAX_TOKEN_LENGTH else None


async def authenticate(
    connection: HTTPConnection, sessions: Sessions, *, in_query: bool = False
) -> Principal:
    """Who is asking. Raises a 401 Problem without a valid token, 503 when nobody can tell."""
    token = bearer_token(connection, in_query=in_query)
    found = await sessions.verify(token) if token else None
    if found is not None:
        return found
    challenge = 'Bearer realm="tandem"' + (', error="invalid_token"' if token else "")
    detail = "This token is unknown or has expired; log in again." if token else "Log in first."
    raise Problem(401, detail, headers={"WWW-Authenticate": challenge})


def principal(
    sessions: Sessions, *, in_query: bool = False
) -> Callable[[HTTPConnection], Awaitable[Principal]]:
    """A FastAPI dependency, for HTTP and WebSocket: the caller's Principal, or 401."""

    async def caller(connection: HTTPConnection) -> Principal:
        return await authenticate(connection, sessions, in_query=in_query)

    # The annotations are strings that FastAPI would look up in this module: give it the types.
    caller.__annotations__ = {"connection": HTTPConnection, "return": Principal}
    return caller


def _cannot_set_headers(connection: HTTPConnection) -> bool:
    if connection.scope["type"] == "websocket":
        return True
    return "text/event-stream" in connection.headers.get("accept", "")


def _on_http_exception(_connection: HTTPConnection, exc: Exception) -> Response:
    """Those of ours, and the framework's own: 404, 405, a body that is no JSON."""
    assert isinstance(exc, StarletteHTTPException)
    if isinstance(exc, Problem):
        return exc.response()
    phrase = http.HTTPStatus(exc.status_code).phrase
    detail = "" if exc.detail == phrase else str(exc.detail)
    return Problem(exc.status_code, detail, headers=exc.headers).response()


def _on_validation_error(_connection: HTTPConnection, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    errors = [
        (_field(error["loc"]), _sentence(error["msg"])) for error in exc.errors()[:MAX_ERRORS]
    ]
    detail = "; ".join(f"{name}: {text}" if name else text for name, text in errors)
    return Problem(422, detail, errors=errors).response()


def _on_unavailable(_connection: HTTPConnection, exc: Exception) -> Response:
    _log.warning("answered 503: %s", exc)
    if isinstance(exc, OutcomeUnknown):
        told = "The directory went away at the very end; look whether the change was made."
    else:
        told = "The directory does not answer; nothing was changed. Try again."
    return unavailable(told).response()


def _field(location: Sequence[Any]) -> str:
    """`("body", "ip_acl", 0)` → `ip_acl.0`; a body that is no JSON at all → `body`."""
    if location[:1] == ("body",) and not all(isinstance(part, str) for part in location[1:2]):
        return "body"
    path = ".".join(str(part) for part in location[1:]) or str(location[0])
    # A key of the client's own making may be long, or hold half a surrogate pair.
    return path[:100].encode("utf-8", "replace").decode("utf-8")


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")


class _Guard:
    """The outermost middleware: counts bytes in, and turns a crash into a plain 500."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._limit = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, self._limit)
        try:
            if exchange.announces_too_much(scope):
                raise exchange.too_large()
            await self._app(scope, exchange.receive, exchange.send)
        except Problem as problem:
            await problem.response()(scope, receive, send)
        except Exception:
            _log.exception("%s %s crashed", scope["method"], scope["path"])
            if exchange.started:
                raise
            await Problem(500, "This is a fault of ours; the log tells more.").response()(
                scope, receive, send
            )


class _Exchange:
    """One request and its answer, watched."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._taken = 0
        self.started = False

    def announces_too_much(self, scope: Scope) -> bool:
        """Whether Content-Length is above the limit; what it really is gets counted below."""
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        return any(value.isdigit() and int(value[:20]) > self._limit for value in lengths)

    def too_large(self) -> Problem:
        """What a body over the limit is answered with."""
        return Problem(413, f"A request body may have {self._limit} bytes.")

    async def receive(self) -> Message:
        """The next piece of the body; raises the 413 when it is one too many."""
        message = await self._receive()
        self._taken += len(message.get("body", b""))
        if self._taken > self._limit:
            raise self.too_large()
        return message

    async def send(self, message: Message) -> None:
        """Pass on, and remember that the answer has begun."""
        self.started = True
        await self._send(message)
