"""What people are shown of a cluster that has started."""

from __future__ import annotations

from deploy.local.cluster import LocalCluster
from deploy.local.plan import KINDS


def show(cluster: LocalCluster) -> list[str]:
    """What runs where, and how to use it."""
    shared, plan = cluster.shared, cluster.plan
    rows: list[tuple[str, ...]] = [("node", "pid", "for phones and browsers", "http", "grpc")]
    for kind in reversed(KINDS):
        for name in plan.names(kind):
            use = ""
            if kind == "proxy":
                use = f"sip {shared.outside(name, 'sip')}  ws {shared.outside(name, 'ws')}"
                if plan.tls_cert:
                    use += f"  tls {shared.outside(name, 'tls')}  wss {shared.outside(name, 'wss')}"
            elif kind == "provisioning":
                use = f"console http://{shared.outside(name, 'http')}/"
            elif kind == "events":
                use = f"events http://{shared.outside(name, 'http')}/api/v1/events"
            place = shared.outside if kind in ("provisioning", "events") else shared.inside
            child = cluster.nodes[name]
            grpc = "" if kind == "proxy" else shared.inside(name, "grpc")
            rows.append((name, str(child.pid), use, place(name, "http"), grpc))
    lines = ["", *_columns(rows), ""]
    if cluster.broker is not None:
        lines.append(f"rabbitmq     127.0.0.1:{cluster.broker.port}")
    if cluster.database is not None:
        lines.append(f"postgresql   127.0.0.1:{cluster.database.port}")
    where = cluster.folder.path
    lines += [
        f"console      {shared.console_urls[0]}/  user admin, domain {plan.domains[0]}",
        f"logs         {where / 'log'}",
    ]
    if cluster.admin_password_is_new:
        lines.append(f"password     {shared.admin_password}")
    else:
        lines.append(f"password     admin_password in {where / 'secrets.json'}")
    server = shared.directory_url.split(",")[0]
    lines += [
        "",
        f"tandemctl login --http {shared.console_urls[0]} admin",
        f"tandemctl --server {server} nodes",
        f"tandemctl --server {server} events tail",
        "",
    ]
    return lines


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
