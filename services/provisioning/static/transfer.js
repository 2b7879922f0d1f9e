// Hanging up a call under way, and a transfer: a leg leaves its call, and somebody else takes its
// place. Both are asked for under /call-orders: a front end may send all of /calls to the events
// service, which only tells of them.
"use strict";

import { api, eventsApi, LONG_MS } from "./api.js";
import { $, ask, bare, clearFaults, option, tell } from "./dom.js";

const LIST_COUNT = 1000;
const DIALPLAN = "transfer"; // that of transfers, unless another is chosen

const orderOf = (call) => `/call-orders/${encodeURIComponent(call.id)}`;
export const endsOf = (call) => `${bare(call.caller)} → ${bare(call.destination)}`;

function callsChanged() {
  document.dispatchEvent(new CustomEvent("calls-changed"));
}

export async function hangUp(call) {
  const text = call.state === "answered"
    ? "Both ends are disconnected." : "The caller is refused, and whoever is rung stops ringing.";
  const title = `Hang up ${endsOf(call)}?`;
  if ((await ask({ title, text, action: "Hang up" })) === null) return;
  try {
    await api("DELETE", orderOf(call), undefined, LONG_MS);
    $("calls-said").textContent = `${endsOf(call)} was hung up.`;
  } finally {
    callsChanged();
  }
}

// --- the form --------------------------------------------------------------------------------

let transferred = null; // the call that the form is about

export async function openTransfer(call) {
  const [{ events }, dialplans] = await Promise.all([
    eventsApi(`/calls/${encodeURIComponent(call.id)}`),
    api("GET", `/dialplans?count=${LIST_COUNT}`),
  ]);
  transferred = { ...call, dialplans: dialplans.items };
  const { leg, owner, way } = $("transfer-form").elements;
  $("transfer-form").reset();
  clearFaults($("transfer-form"));
  $("transfer-title").textContent = `Transfer ${endsOf(call)}`;
  const answered = events.filter((event) => event.type === "call.answered").at(-1);
  leg.replaceChildren(option(`who called: ${bare(call.caller)}`, 0));
  if (answered) leg.prepend(option(`who answered: ${bare(answered.data.target)}`, answered.data.leg));
  leg.selectedIndex = 0;
  const owners = call.owner.split(",");
  owner.replaceChildren(...owners.map((name) => option(name, name)));
  owner.closest("label").hidden = owners.length < 2;
  fillDialplans();
  way.value = $("transfer-form").elements.dialplan.options.length ? "destination" : "dial";
  showWay();
  $("transfer-dialog").showModal();
}

function fillDialplans() {
  const { dialplan, owner, way } = $("transfer-form").elements;
  const names = transferred.dialplans.filter((d) => d.owner === owner.value).map((d) => d.name);
  dialplan.replaceChildren(...names.map((name) => option(name, name)));
  const usual = names.find((name) => name.toLowerCase() === DIALPLAN);
  if (usual) dialplan.value = usual;
  way.options[0].disabled = !names.length;
}

function showWay() {
  const fields = $("transfer-form").elements;
  for (const label of $("transfer-form").querySelectorAll("[data-way]")) {
    label.hidden = label.dataset.way !== fields.way.value;
  }
  fields.destination.required = fields.way.value === "destination";
  fields.dial.required = fields.way.value === "dial";
}

export async function transfer() {
  const call = transferred;
  const { leg, way, destination, dialplan, dial, owner } = $("transfer-form").elements;
  const body = { leg: Number(leg.value), owner: owner.value };
  if (way.value === "dial") body.dial = dial.value.trim();
  else Object.assign(body, { destination: destination.value.trim(), dialplan: dialplan.value });
  const begun = await api("POST", `${orderOf(call)}/transfer`, body, LONG_MS);
  $("transfer-dialog").close();
  const to = body.dial || body.destination;
  $("calls-said").textContent = `${to} is rung. Until somebody answers there the call is as it was.`;
  tell($("calls-fault"), "");
  underWay.set(begun.id, { call, to });
  callsChanged();
}

export function watchTransferControls() {
  const { way, owner } = $("transfer-form").elements;
  way.addEventListener("change", showWay);
  owner.addEventListener("change", fillDialplans);
  $("close-transfer").addEventListener("click", () => $("transfer-dialog").close());
}

// --- what becomes of it ----------------------------------------------------------------------

const underWay = new Map(); // the call that leaves a leg, and where to, by the new call's id

// Tell of transfers that are over, whether or not the event stream is there to do it.
export async function followTransfers() {
  await Promise.all(Array.from(underWay, async ([id, { call, to }]) => {
    const { events } = await eventsApi(`/calls/${encodeURIComponent(call.id)}`).catch((error) => {
      if (error.status === 404) underWay.delete(id); // nobody will ever know
      throw error;
    });
    const end = events.find((event) => event.data.new_call_id === id
      && ["transfer.completed", "transfer.failed"].includes(event.type));
    if (!end || !underWay.delete(id)) return;
    const done = end.type === "transfer.completed";
    $("calls-said").textContent = done ? `${endsOf(call)}: ${to} has taken over.` : "";
    if (!done) tell($("calls-fault"), `${endsOf(call)} to ${to}: ${end.message}.`);
  }));
}

export function forgetTransfers() {
  underWay.clear();
  transferred = null;
  $("transfer-form").reset();
  for (const select of $("transfer-form").querySelectorAll("select:not([name=way])")) {
    select.replaceChildren();
  }
  for (const id of ["calls-said", "transfer-title"]) $(id).textContent = "";
}
