"""The REST API of provisioning: every resource under /api/v1; and the call manager as the original
had it."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from services.provisioning.entrypoints import (
    http_access,
    http_accounts,
    http_agi_rules,
    http_api_keys,
    http_bindings,
    http_callmanager,
    http_calls,
    http_customers,
    http_dialplans,
    http_domains,
    http_dry_runs,
    http_nodes,
    http_providers,
    http_session,
    http_signals,
    http_values,
)
from services.provisioning.entrypoints.http_route import UseCases, provider
from tandem.rpc.http import PROBLEM_RESPONSES

_RESOURCES = (
    http_session,
    http_accounts,
    http_customers,
    http_domains,
    http_api_keys,
    http_bindings,
    http_nodes,
    http_signals,
    http_access,
    http_agi_rules,
    http_dialplans,
    http_dry_runs,
    http_providers,
    http_values,
)


def make_router(use_cases: UseCases) -> APIRouter:
    """All routes on these use cases. The application must have `tandem.rpc.http.install`."""
    both = APIRouter(dependencies=[Depends(provider(use_cases))])
    both.include_router(_api())
    both.include_router(http_callmanager.router)
    return both


def _api() -> APIRouter:
    router = APIRouter(
        prefix="/api/v1",
        responses={code: PROBLEM_RESPONSES[code] for code in (401, 413, 422, 503)},
    )
    for resource in _RESOURCES:
        router.include_router(resource.router)
    calls = http_calls.router
    router.include_router(calls, prefix=http_calls.PREFIX)
    router.include_router(calls, prefix=http_calls.ALIAS, include_in_schema=False)
    return router
