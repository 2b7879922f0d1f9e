"""What gRPC CallControl tells of a call that waits for a callback."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import grpc

from tandem.stubs.callcontrol.v1 import callcontrol_pb2 as pb
from tests.support.waiting import PATIENCE_SECONDS


@dataclass
class Following:
    """A stream of StartCallback, and what it has told so far."""

    stream: Any
    steps: list[pb.StartCallbackResponse] = field(default_factory=list)

    async def next(self, seconds: float = PATIENCE_SECONDS) -> pb.StartCallbackResponse:
        """One more step."""
        async with asyncio.timeout(seconds):
            step = await self.stream.read()
        assert step is not grpc.aio.EOF, self.steps
        self.steps.append(step)
        return self.steps[-1]

    async def end(self) -> pb.StartCallbackResponse:
        """The last step."""
        while (await self.next()).WhichOneof("step") not in ("matched", "failed"):
            pass
        return self.steps[-1]

    @property
    def kinds(self) -> list[str]:
        """The names of the steps."""
        return [step.WhichOneof("step") or "" for step in self.steps]
