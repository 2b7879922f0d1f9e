// The nodes of a cluster, for administrators.
"use strict";

import { api } from "./api.js";
import { $, el, fillTable, seconds } from "./dom.js";

let wanted = true; // until this user turns out not to see nodes, or there is no cluster

export function forgetNodes() {
  wanted = true;
  $("nodes-section").hidden = true;
}

export async function refreshNodes() {
  if (!wanted) return;
  let nodes;
  try {
    nodes = await api("GET", "/nodes");
  } catch (error) {
    if (error.status !== 403 && error.status !== 404) throw error;
    wanted = false;
    return;
  }
  $("nodes-section").hidden = nodes.total < 2; // one process is no cluster
  fillTable("nodes", nodes, (n) => [
    n.id, n.kind, el("td", n.state, n.state === "lost" ? "bad" : "good"), n.calls, n.bindings,
    n.silent_seconds === undefined ? "" : `${seconds(n.silent_seconds)} ago`,
  ], "No node is known.");
}
