// Dry runs of what stands in the editor: who calls whom, what the outside would answer, and what
// would come of it.
"use strict";

import { api, LONG_MS } from "./api.js";
import { $, el } from "./dom.js";
import { hideOutcome, showOutcome } from "./outcome.js";

const AFTER = { name: "after", label: "After (s)", type: "number", min: 0, max: 86400, step: "any" };
const WEB_STATUS = { type: "number", min: 100, max: 599 };

// What the outside would answer, by the names that the API has for it.
const KINDS = [
  { kind: "legs", title: "What legs answer", add: "Add a leg", place: "scene", fields: [
    { name: "to", label: "Leg or URI, with * and ?", placeholder: "*@provider", required: true },
    { name: "status", label: "Status", type: "number", min: 200, max: 699, value: 200 },
    { name: "reason", label: "Reason" },
    { ...AFTER, value: 2 },
    { name: "contacts", label: "Redirects to", many: true },
  ] },
  { kind: "web", title: "What web servers answer", add: "Add a URL", place: "scene-more", fields: [
    { name: "url", label: "URL, with * and ?", required: true },
    { name: "status", label: "Status", ...WEB_STATUS, value: 200 },
    { name: "body", label: "Text" },
    { name: "content_type", label: "Content-Type", placeholder: "text/plain" },
    { ...AFTER, value: 0.1 },
  ] },
  { kind: "enum", title: "What ENUM says", add: "Add a number", place: "scene-more", fields: [
    { name: "number", label: "Number", required: true },
    { name: "uri", label: "URI", required: true },
  ] },
  { kind: "callbacks", title: "Callbacks that come", add: "Add a callback", place: "scene-more", fields: [
    { name: "provider", label: "For provider", placeholder: "any" },
    { ...AFTER, value: 5 },
  ] },
  { kind: "signals", title: "What voice applications say", add: "Add a signal", place: "scene-more", fields: [
    { name: "key", label: "Key", required: true },
    { name: "value", label: "Value" },
    { ...AFTER, value: 5 },
  ] },
];

// --- the form --------------------------------------------------------------------------------

function buildKind(kind) {
  const set = el("fieldset");
  set.dataset.kind = kind.kind;
  const add = el("button", kind.add, "quiet");
  add.type = "button";
  add.addEventListener("click", () => {
    const row = buildRow(kind);
    add.before(row);
    row.querySelector("input").focus();
  });
  set.append(el("legend", kind.title), add);
  $(kind.place).append(set);
}

function buildRow(kind) {
  const row = el("div", null, "row");
  for (const { name, label, many, ...properties } of kind.fields) {
    const input = Object.assign(el("input"), { autocomplete: "off", ...properties });
    input.dataset.field = name;
    if (many) input.dataset.many = "yes";
    const named = el("label", label);
    named.append(input);
    row.append(named);
  }
  const remove = el("button", "Remove", "quiet");
  remove.type = "button";
  remove.addEventListener("click", () => {
    row.parentElement.querySelector(":scope > button").focus();
    row.remove();
  });
  row.append(remove);
  return row;
}

// What is left empty is the API's to choose.
function read(input) {
  const text = input.value.trim();
  if (text === "") return undefined;
  if (input.dataset.many) return text.split(/[\s,]+/);
  return input.type === "number" ? Number(text) : text;
}

// The rows of a kind. Their fields get the names by which a refusal speaks of them.
function readRows(set) {
  return Array.from(set.querySelectorAll(":scope > .row"), (row, index) => {
    const found = {};
    for (const input of row.querySelectorAll("input")) {
      input.name = `${set.dataset.kind}.${index}.${input.dataset.field}`;
      const value = read(input);
      if (value !== undefined) found[input.dataset.field] = value;
    }
    return found;
  });
}

function readScene() {
  const form = $("dry-run-form");
  const { direction, caller, destination, caller_name: name, at, caller_waits: waits } = form.elements;
  const body = { direction: direction.value, caller: read(caller), destination: read(destination) };
  if (name.value.trim()) body.caller_name = name.value.trim();
  if (at.value) body.at = new Date(at.value).toISOString();
  if (waits.value) body.caller_waits = Number(waits.value);
  for (const set of form.querySelectorAll("fieldset")) {
    const rows = readRows(set);
    if (rows.length) body[set.dataset.kind] = rows;
  }
  if (body.enum) body.enum = Object.fromEntries(body.enum.map((e) => [e.number, e.uri]));
  return body;
}

// --- the run ---------------------------------------------------------------------------------

let asked = null; // what is run; another program may be in the editor since

export async function runDry({ dialplan, program, goTo }) {
  hideOutcome($("dry-run-outcome"));
  const path = dialplan ? `/dialplans/${encodeURIComponent(dialplan.id)}/dry-run` : "/dialplans/dry-run";
  const mine = (asked = {});
  const run = await api("POST", path, { ...readScene(), ...program }, LONG_MS);
  if (asked !== mine) return;
  showOutcome($("dry-run-outcome"), run, goTo);
  $("dry-run-outcome").scrollIntoView({ block: "nearest" });
}

// Another program is in the editor.
export function forgetRun(caller) {
  asked = null;
  hideOutcome($("dry-run-outcome"));
  const field = $("dry-run-form").elements.caller;
  if (caller && !field.value) field.value = caller;
}

export function closeDryRun() {
  forgetRun();
  $("dry-run-form").reset();
  for (const row of $("dry-run-form").querySelectorAll("fieldset > .row")) row.remove();
  for (const fold of $("dry-run").querySelectorAll("details")) fold.open = false;
  $("dry-run").open = false;
}

export function watchDryRunControls() {
  KINDS.forEach(buildKind);
  // a field that is not filled in well must be seen to be told of
  $("dry-run-form").addEventListener("invalid", (event) => {
    const folded = event.target.closest("details");
    if (folded) folded.open = true;
  }, true);
}
