// Calls under way, call records, and what happened in one call.
"use strict";

import { eventsApi } from "./api.js";
import { inEditor } from "./dialplans.js";
import { $, bare, button, clock, dateAndTime, el, fillTable, seconds, tell } from "./dom.js";
import { eventLine } from "./events.js";
import { forgetCall, offerReplay } from "./replay.js";
import { endsOf, followTransfers, hangUp, openTransfer } from "./transfer.js";

const LIST_COUNT = 100;
const RECORD_COUNT = 25;

export async function refreshCalls() {
  const [calls, records] = await Promise.all([
    eventsApi(`/calls?count=${LIST_COUNT}`),
    eventsApi(`/cdrs?count=${RECORD_COUNT}`),
  ]);
  fillTable("calls", calls, (c) => [
    clock(c.started_at), bare(c.caller), bare(c.destination),
    c.state + (c.answered_by ? ` by ${bare(c.answered_by)}` : ""), actions(c),
  ], "No call is under way.");
  const shown = { items: records.items, total: records.items.length };
  fillTable("cdrs", shown, (c) => [
    dateAndTime(c.created_at), bare(c.caller), bare(c.destination),
    el("td", `${c.status} ${c.status_reason}`, c.status < 300 ? "good" : "bad"),
    c.end_reason, c.answered_at ? seconds(c.duration) : "–", steps(c),
  ], "No call was made yet.");
  await followTransfers();
}

function steps(call) {
  const cell = el("td", null, "actions");
  cell.append(button("Steps", () => showSteps(call), endsOf(call)));
  return cell;
}

// Only an answered call of a customer's has a leg that could leave it.
function actions(call) {
  const cell = steps(call);
  if (call.state === "answered" && call.owner) {
    cell.append(button("Transfer", () => openTransfer(call), endsOf(call)));
  }
  cell.append(button("Hang up", () => hangUp(call), endsOf(call)));
  return cell;
}

async function showSteps(call) {
  const found = await eventsApi(`/calls/${encodeURIComponent(call.id)}`);
  forgetCall();
  $("steps-title").textContent = endsOf(call);
  $("steps").replaceChildren(...found.events.map(eventLine));
  tell($("steps-fault"), "");
  $("steps-dialog").showModal();
  await offerReplay(found, inEditor()).catch((error) => {
    if (error.status !== 401) tell($("steps-fault"), error.message);
  });
}
