"""The REST API of provisioning: every resource under /api/v1."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from services.provisioning.entrypoints import (
    http_accounts,
    http_api_keys,
    http_bindings,
    http_customers,
    http_dialplans,
    http_domains,
    http_nodes,
    http_providers,
    http_session,
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
    http_dialplans,
    http_providers,
    http_values,
)


def make_router(use_cases: UseCases) -> APIRouter:
    """All routes on these use cases. The application must have `tandem.rpc.http.install`."""
    router = APIRouter(
        prefix="/api/v1",
        dependencies=[Depends(provider(use_cases))],
        responses={code: PROBLEM_RESPONSES[code] for code in (401, 413, 422, 503)},
    )
    for resource in _RESOURCES:
        router.include_router(resource.router)
    return router
