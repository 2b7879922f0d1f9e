"""What the general way keeps of Route lines for the fast one: see `known.py`."""

from __future__ import annotations

from services.proxy.domain.edge import Edge
from services.proxy.domain.known import Inward, Outward
from services.proxy.domain.routes import OwnRoutes, routes_text
from services.proxy.domain.scan import Head, drop_items, splice
from services.proxy.domain.verdict import Destination


def learn_inward(edge: Edge, head: Head, routes: OwnRoutes) -> None:
    """Keep what a request from outside said: only where a token of this cluster names the owner,
    and no Route is left for anybody else."""
    block = _block(head)
    if block is None or routes.owner is None or routes.dst is not None:
        return
    if len(head.items("route")) == routes.count:
        lines = head.data[block[0] : block[1]]
        edge.known.keep_inward(lines, Inward(routes.owner, routes_text(head)))


def learn_outward(
    edge: Edge, head: Head, uri: bytes, routes: OwnRoutes, destination: Destination
) -> None:
    """Keep what a request of an appserver said. Of one with Route lines only if these alone say
    where it goes, not the Request-URI."""
    in_dialog = routes.owner is not None
    if not head.lines.get("route"):
        edge.known.keep_uri(uri, Outward(destination, b"", b"", in_dialog))
        return
    block = _block(head)
    by_route = routes.flow is not None or routes.dst is not None
    if block is None or not (by_route or len(head.items("route")) > routes.count):
        return
    start, end = block
    rest = splice(head.data[:end], drop_items(head, "route", routes.count))[start:]
    text = routes_text(head, routes.count)
    edge.known.keep_outward(head.data[start:end], Outward(destination, rest, text, in_dialog))


def _block(head: Head) -> tuple[int, int] | None:
    """The span of the Route lines, when they follow each other and are not folded."""
    lines = head.lines.get("route")
    if not lines:
        return None
    start, end = lines[0].start, lines[-1].end + 2
    if sum(line.end + 2 - line.start for line in lines) != end - start:
        return None
    plain = all(head.data.startswith(b"Route: ", line.start) for line in lines)
    folded = head.data.count(b"\r\n", start, end) != len(lines)
    return (start, end) if plain and not folded else None
