"""`sys`, as scripts of every language see it: thin over `world.World`, and the only thing of the
switch that they see."""

from __future__ import annotations

from tandem.dialplan.script import Dialplan
from tandem.dialplan.world import Incoming, World


class Sys:
    """The host object of one run."""

    def __init__(self, world: World, req: Incoming, dialplan: Dialplan) -> None:
        self.world = world
        self.req = req
        self.dialplan = dialplan
