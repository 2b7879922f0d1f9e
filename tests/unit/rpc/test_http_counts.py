from __future__ import annotations

import httpx
from fastapi import APIRouter

from tandem.rpc.http import Problem
from tandem.rpc.httpservice import make_service_app
from tandem.runtime.metrics import Metrics


async def test_answers_are_counted_by_class_those_of_health_and_metrics_left_out() -> None:
    async def ready() -> bool:
        return False

    router, metrics = APIRouter(), Metrics()

    @router.get("/fine")
    async def fine() -> str:
        return "fine"

    @router.get("/gone")
    async def gone() -> str:
        raise Problem(404, "Gone.")

    app = make_service_app("Test", [router], metrics, ready)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for path in ("/fine", "/fine", "/gone", "/nowhere", "/health/ready", "/metrics"):
            await client.get(path)
        text = (await client.get("/metrics")).text
    assert 'tandem_http_responses_total{class="2xx"} 2.0' in text
    assert 'tandem_http_responses_total{class="4xx"} 2.0' in text
    assert 'tandem_http_responses_total{class="5xx"} 0.0' in text
