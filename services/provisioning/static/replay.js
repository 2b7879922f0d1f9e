// Replays: what a program would do with calls that were made.
"use strict";

import { api, eventsApi, LONG_MS } from "./api.js";
import { $, bare, button, dateAndTime, el, fillTable, option } from "./dom.js";
import { hideOutcome, showOutcome } from "./outcome.js";

const LAST_COUNT = 20;
const LIST_COUNT = 1000;
const BODY_BYTES = 240000; // of the 262144 that a request may have

const pathOf = (id) => `/dialplans/${encodeURIComponent(id)}`;
const ownersOf = (thing) => (thing.owner || "").split(",");

// The calls as the API takes them: SIP messages tell it nothing, and are long.
function slim(call) {
  return { ...call, events: call.events.filter((event) => event.type !== "sip.trace") };
}

const sizeOf = (value) => new Blob([JSON.stringify(value)]).size;

// Lists of as many calls as one request holds.
function batches(calls, room) {
  const found = [];
  let held = Infinity;
  for (const call of calls) {
    const size = sizeOf(call);
    if (held + size > room) {
      found.push([]);
      held = 0;
    }
    found.at(-1).push(call);
    held += size;
  }
  return found;
}

// One request after the other: a customer has one run at a time.
async function replay(dialplan, calls, program) {
  const found = { calls: [], skipped: [] };
  for (const batch of batches(calls.map(slim), BODY_BYTES - sizeOf(program))) {
    const body = { calls: batch, ...program };
    const told = await api("POST", `${pathOf(dialplan.id)}/replay`, body, LONG_MS);
    found.calls.push(...told.calls);
    found.skipped.push(...told.skipped);
  }
  return found;
}

function verdict(replayed) {
  const unsure = replayed.unsure ? ", but something is rung or asked of which nothing is known" : "";
  return (replayed.differs ? "differs" : "the same") + unsure;
}

// --- the last calls of a dialplan -------------------------------------------------------------

async function lastCalls(dialplan) {
  const filter = `type=dialplan.started and text="Dialplan ${dialplan.name} "`;
  const page = await eventsApi(`/events?count=${LAST_COUNT}&filter=${encodeURIComponent(filter)}`);
  const name = dialplan.name.toLowerCase();
  const runs = page.items.filter((event) => event.data.dialplan.toLowerCase() === name
    && ownersOf(event).includes(dialplan.owner));
  const ids = [...new Set(runs.map((event) => event.call_id))].reverse();
  const calls = await Promise.all(ids.map((id) => eventsApi(`/calls/${encodeURIComponent(id)}`)
    .catch((error) => {
      if (error.status !== 404) throw error; // 404: it is not kept any more
    })));
  return calls.filter(Boolean);
}

let lastAsked = null; // what the table is filled for; another dialplan may be in the editor since

export async function replayLast({ dialplan, program, goTo }) {
  forgetReplays();
  const mine = (lastAsked = {});
  const calls = await lastCalls(dialplan);
  const found = await replay(dialplan, calls, program);
  if (lastAsked !== mine) return;
  const byId = new Map([...found.calls, ...found.skipped].map((each) => [each.id, each]));
  const differing = found.calls.filter((each) => each.differs).length;
  $("replay-said").textContent = calls.length
    ? `${differing} of ${found.calls.length} calls would go otherwise.`
    : "No call has run this dialplan yet.";
  $("replayed").hidden = !calls.length;
  fillTable("replayed", { items: calls, total: calls.length }, (call) => (
    replayedCells(call, byId.get(call.id), goTo)), "");
}

function replayedCells(call, replayed, goTo) {
  const record = call.record || call;
  const shown = [dateAndTime(record.created_at || record.started_at), bare(record.caller),
    bare(record.destination)];
  const actions = el("td", null, "actions");
  if (replayed.reason !== undefined) return [...shown, "", "", `not replayed: ${replayed.reason}`, actions];
  const title = `${bare(record.caller)} → ${bare(record.destination)}, replayed`;
  actions.append(button("Steps", () => showNow(title, replayed, goTo), title));
  return [...shown, sides(replayed.dialled_before, replayed.status_before),
    sides(replayed.dialled_now, replayed.status_now),
    el("td", verdict(replayed), replayed.differs ? "bad" : "good"), actions];
}

const sides = (dialled, status) => [...dialled, status].join(", ");

function showNow(title, replayed, goTo) {
  forgetCall();
  $("steps-title").textContent = title;
  $("steps").replaceChildren();
  showOutcome($("replay-outcome"), replayed.now, goTo && ((place) => {
    $("steps-dialog").close();
    goTo(place);
  }));
  $("steps-dialog").showModal();
}

export function forgetReplays() {
  lastAsked = null;
  $("replay-said").textContent = "";
  $("replayed").tBodies[0].replaceChildren();
  $("replayed").hidden = true;
}

// --- one call ---------------------------------------------------------------------------------

let shown = null; // the call in the dialog, and once that is known, what its dialplan is

export function forgetCall() {
  shown = null;
  $("replay-call").hidden = true;
  hideOutcome($("replay-outcome"));
}

// Offer the versions of the dialplan that ran for a call that is over, if there was one.
export async function offerReplay(call, inEditor) {
  forgetCall();
  const mine = (shown = { call });
  const started = call.events.find((event) => event.type === "dialplan.started");
  if (!call.record || !started) return;
  const dialplans = await api("GET", `/dialplans?count=${LIST_COUNT}`);
  const name = started.data.dialplan.toLowerCase();
  const dialplan = dialplans.items.find((d) => (
    d.name.toLowerCase() === name && ownersOf(started).includes(d.owner)));
  if (!dialplan) return;
  const versions = await api("GET", `${pathOf(dialplan.id)}/versions?count=${LIST_COUNT}`);
  if (shown !== mine) return;
  const editing = inEditor.dialplan !== null && inEditor.dialplan.id === dialplan.id;
  Object.assign(mine, { dialplan, program: inEditor.program });
  fillPrograms(dialplan, versions.items, started.data.version, editing);
  $("replay-call").hidden = false;
}

function fillPrograms(dialplan, versions, ran, editing) {
  const select = $("replay-call").elements.program;
  select.replaceChildren(...versions.map((v) => {
    const notes = [v.version === dialplan.version && "in use", v.version === ran && "ran for this call"];
    return option([`version ${v.version}`, ...notes.filter(Boolean)].join(", "), v.version);
  }));
  if (editing) select.prepend(option("what stands in the editor", ""));
  select.value = editing ? "" : dialplan.version;
  $("replay-dialplan").textContent = `Dialplan ${dialplan.name}`;
}

export async function replayCall() {
  hideOutcome($("replay-outcome"));
  const chosen = $("replay-call").elements.program.value;
  const mine = shown;
  const program = chosen ? { version: Number(chosen) } : mine.program;
  const found = await replay(mine.dialplan, [mine.call], program);
  if (shown !== mine) return;
  if (!found.calls.length) throw new Error(`This call can't be replayed: ${found.skipped[0].reason}.`);
  const [replayed] = found.calls;
  showOutcome($("replay-outcome"), replayed.now);
  const end = $("replay-outcome").querySelector(".end");
  end.textContent = `Then: ${sides(replayed.dialled_before, replayed.status_before)}. `
    + `Now: ${sides(replayed.dialled_now, replayed.status_now)}: ${verdict(replayed)}. ${end.textContent}`;
}
