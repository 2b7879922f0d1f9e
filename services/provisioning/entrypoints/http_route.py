"""What all routes share: the use cases, the caller, and errors to problem documents."""

from __future__ import annotations

import math
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, Protocol, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from services.provisioning.domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    ProvisioningError,
    TooManyLogins,
    Unanswered,
    WrongCredentials,
    WrongSource,
    invalid,
)
from services.provisioning.domain.rules import customer_username
from services.provisioning.handlers.accounts import Accounts
from services.provisioning.handlers.agi_rules import AgiRules
from services.provisioning.handlers.api_keys import ApiKeys
from services.provisioning.handlers.callmanager import CallManager
from services.provisioning.handlers.customers import Customers
from services.provisioning.handlers.dialplans import Dialplans
from services.provisioning.handlers.domains import Domains
from services.provisioning.handlers.dryruns import DryRuns
from services.provisioning.handlers.location import LocationCopy
from services.provisioning.handlers.login import Login
from services.provisioning.handlers.nodes import Operations
from services.provisioning.handlers.openmethods import OpenMethods
from services.provisioning.handlers.orders import Orders
from services.provisioning.handlers.providers import Providers
from services.provisioning.handlers.sessions import StoredSessions
from services.provisioning.handlers.signals import Signals
from services.provisioning.handlers.values import Values
from services.provisioning.ports import Page
from tandem.rpc.http import PROBLEM_RESPONSES, Problem, authenticate, bearer_token, unavailable
from tandem.rpc.sessions import Principal

MAX_COUNT: Final = 1000
"""Items in one answer."""
DEFAULT_COUNT: Final = 100
MAX_OFFSET: Final = 1_000_000_000

_STATUS: Final = {
    Invalid: 422,
    WrongSource: 422,
    Conflict: 409,
    NotFound: 404,
    Forbidden: 403,
    WrongCredentials: 401,
    TooManyLogins: 429,
}

Item = TypeVar("Item")
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True)
class UseCases:
    """All that the API can do."""

    accounts: Accounts
    agi_rules: AgiRules
    api_keys: ApiKeys
    call_manager: CallManager
    customers: Customers
    dialplans: Dialplans
    domains: Domains
    dry_runs: DryRuns
    location: LocationCopy
    login: Login
    open_methods: OpenMethods
    operations: Operations
    orders: Orders
    providers: Providers
    sessions: StoredSessions
    signals: Signals
    values: Values


class ProblemRoute(APIRoute):
    """A route whose use case may raise ProvisioningError."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handle(request)
            except ProvisioningError as fault:
                raise self.problem(fault) from fault

        return guarded

    def problem(self, fault: ProvisioningError) -> Problem:
        """What it is answered with."""
        return _problem(fault)


def _problem(fault: ProvisioningError) -> Problem:
    if isinstance(fault, Unanswered):
        return unavailable(fault.detail)
    headers = {}
    if isinstance(fault, TooManyLogins):
        headers["Retry-After"] = str(fault.seconds)
    if isinstance(fault, WrongCredentials):
        headers["WWW-Authenticate"] = 'Bearer realm="tandem"'
    errors = fault.errors if isinstance(fault, Invalid) else ()
    status = next(_STATUS[kind] for kind in type(fault).__mro__ if kind in _STATUS)
    return Problem(
        status,
        fault.detail,
        field=fault.field,
        errors=errors,
        places=_places(fault),
        headers=headers,
    )


def _places(fault: ProvisioningError) -> list[tuple[int, int]]:
    """Line and column of each error, for faults of a program."""
    problems = fault.problems if isinstance(fault, WrongSource) else ()
    return [(problem.line, problem.column) for problem in problems]


def provider(use_cases: UseCases) -> Callable[[Request], Awaitable[None]]:
    """The dependency that gives every request the use cases."""
    # FastAPI remembers every function that was one, for ever: it must not hold the service
    kept = weakref.ref(use_cases)

    async def provide(request: Request) -> None:
        request.state.use_cases = kept()

    provide.__annotations__ = {"request": Request, "return": None}
    return provide


async def _use_cases(request: Request) -> UseCases:
    found = request.state.use_cases
    assert isinstance(found, UseCases)
    return found


Cases = Annotated[UseCases, Depends(_use_cases)]


async def _caller(request: Request, cases: Cases) -> Principal:
    return await authenticate(request, cases.sessions)


Caller = Annotated[Principal, Depends(_caller)]


def presented_token(request: Request) -> str:
    """The token that the caller was authenticated by."""
    return bearer_token(request) or ""


def source_of(request: Request) -> str:
    """The address that the request came from."""
    return request.client.host if request.client else ""


def owner_of(caller: Principal, owner: str | None) -> str:
    """The customer whom a request is about: the caller unless an administrator names another.
    Raises Forbidden and Invalid."""
    if owner is None or owner.lower() == caller.username:
        return caller.username
    if not caller.admin:
        raise Forbidden("Only an administrator may do this for others.", "owner")
    try:
        return customer_username(owner)
    except ValueError as fault:
        raise invalid("owner", str(fault)) from None


Owner = Annotated[str | None, Query(description="For administrators: the customer.")]


@dataclass(frozen=True, slots=True)
class _Part:
    """Which part of a list is wanted."""

    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET, description="How many to leave out.")] = 0
    count: Annotated[int, Query(ge=0, le=MAX_COUNT, description="How many to return at most.")] = (
        DEFAULT_COUNT
    )


Part = Annotated[_Part, Depends()]


class Listing(BaseModel, Generic[Item]):
    """A piece of a list."""

    items: list[Item]
    total: int = Field(description="How long the whole list is.", examples=[1])


def listed(page: Page[Row], view: Callable[[Row], Item]) -> Listing[Item]:
    """A part of a list as clients see it."""
    return Listing(items=[view(row) for row in page.items], total=page.total)


class Identified(Protocol):
    """Something with an address of its own."""

    id: str


Made = TypeVar("Made", bound=Identified)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where what a POST makes is found."""

    request: Request
    response: Response

    def of(self, made: Made) -> Made:
        """It, with its address in the answer's Location."""
        path = self.request.url.path.rstrip("/")
        self.response.headers["Location"] = f"{path}/{made.id}"
        return made


Place = Annotated[_Place, Depends()]


def routes(prefix: str, *refusals: int, tag: str = "") -> APIRouter:
    """A router for what is below a path, which may be refused with these statuses."""
    return APIRouter(
        prefix=prefix,
        tags=[tag or prefix.removeprefix("/")],
        route_class=ProblemRoute,
        responses={code: PROBLEM_RESPONSES[code] for code in refusals},
    )


def whole_seconds(unix: float) -> int:
    """For times that clients see: a token must not look as if it lived longer than it does."""
    return math.floor(unix)
