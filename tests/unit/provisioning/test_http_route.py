"""What all routes of provisioning share."""

from __future__ import annotations

import gc
import weakref
from dataclasses import fields
from typing import Any

from fastapi import FastAPI

from services.provisioning.entrypoints.http import make_router
from services.provisioning.entrypoints.http_route import UseCases


def test_what_fastapi_remembers_of_the_routes_does_not_hold_the_service() -> None:
    nothing: dict[str, Any] = {field.name: None for field in fields(UseCases)}
    use_cases = UseCases(**nothing)
    gone = weakref.ref(use_cases)
    app = FastAPI()
    app.include_router(make_router(use_cases))
    assert app.openapi()["paths"]
    del use_cases, app
    gc.collect()
    assert gone() is None
