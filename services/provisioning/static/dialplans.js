// Dialplans: an editor that shows faults at their lines, versions, and which accounts use them.
"use strict";

import { api, LONG_MS } from "./api.js";
import {
  $, ask, attempt, button, dateAndTime, el, fillTable, onSubmit, option,
} from "./dom.js";
import { closeDryRun, forgetRun, runDry, watchDryRunControls } from "./dryrun.js";
import { forgetReplays, replayLast } from "./replay.js";

const LIST_COUNT = 100;
const LANGUAGES = { python: "Python", lines: "extension lines", ruby: "Ruby" };

let edited = null; // the dialplan in the editor; null: a new one

export async function refreshDialplans() {
  const [dialplans, accounts] = await Promise.all([
    api("GET", `/dialplans?count=${LIST_COUNT}`),
    api("GET", `/sip-accounts?count=${LIST_COUNT}`),
  ]);
  fillTable("dialplans", dialplans, dialplanCells, "No dialplans: calls ring phones and go out as dialled.");
  fillUse(dialplans.items, accounts.items);
  return dialplans;
}

function dialplanCells(dialplan) {
  const actions = el("td", null, "actions");
  actions.append(
    button("Edit", () => edit(dialplan.id)),
    button("Delete", () => remove(dialplan)),
  );
  return [dialplan.name, LANGUAGES[dialplan.language] || dialplan.language, dialplan.version,
    dateAndTime(dialplan.updated_at), actions];
}

const pathOf = (id) => `/dialplans/${encodeURIComponent(id)}`;

async function remove(dialplan) {
  const text = "All its versions go with it.";
  const answer = await ask({ title: `Delete the dialplan ${dialplan.name}?`, text, action: "Delete" });
  if (answer === null) return;
  await api("DELETE", pathOf(dialplan.id));
  if (edited && edited.id === dialplan.id) closeEditor();
  await refreshDialplans();
}

// --- the editor ------------------------------------------------------------------------------

export function newDialplan() {
  edited = null;
  openEditor({ name: "", language: "python", source: "" }, "New dialplan");
  $("version-row").hidden = true;
  $("dialplan-form").elements.name.focus();
}

async function edit(id) {
  edited = await api("GET", pathOf(id));
  openEditor(edited, `Dialplan ${edited.name}`);
  await showVersions();
}

function openEditor(dialplan, title) {
  const { name, language, source, comment } = $("dialplan-form").elements;
  [name.value, language.value, source.value] = [dialplan.name, dialplan.language, dialplan.source];
  comment.value = "";
  $("dialplan-title").textContent = title;
  showFaults([]);
  forgetRun(callerOf(dialplan));
  forgetReplays();
  $("replays").hidden = edited === null;
  $("dialplan-editor").hidden = false;
  $("dialplan-editor").scrollIntoView({ block: "nearest" });
}

export function closeEditor() {
  edited = null;
  $("dialplan-form").reset();
  showFaults([]);
  closeDryRun();
  forgetReplays();
  $("replays").open = false;
  $("dialplan-editor").hidden = true;
}

export async function saveDialplan() {
  const { name, language, source, comment } = $("dialplan-form").elements;
  const body = { name: name.value.trim(), language: language.value, source: source.value };
  if (comment.value.trim()) body.comment = comment.value.trim();
  showFaults([]);
  try {
    if (edited) body.expected_version = edited.version;
    edited = await (edited
      ? api("PATCH", pathOf(edited.id), body, LONG_MS) : api("POST", "/dialplans", body, LONG_MS));
  } catch (error) {
    const faults = (error.errors || []).filter((e) => e.field === "source");
    if (!faults.length) throw error;
    showFaults(faults);
    return;
  }
  openEditor(edited, `Dialplan ${edited.name}, saved as version ${edited.version}`);
  await Promise.all([showVersions(), refreshDialplans()]);
}

// What stands in the editor, and the dialplan that it is a program of; null: a new one.
export function inEditor() {
  const { language, source } = $("dialplan-form").elements;
  return { dialplan: edited, program: { language: language.value, source: source.value }, goTo };
}

// Somebody to call in a dry run, until the user says who.
function callerOf({ owner }) {
  const own = accountsShown.find((a) => !owner || a.owner === owner);
  return own && addressOf(own);
}

// Each fault with the line that it is in; a click goes there.
function showFaults(faults) {
  const lines = $("dialplan-form").elements.source.value.split("\n");
  $("dialplan-faults").replaceChildren(...faults.map((fault) => {
    const item = el("li");
    if (fault.line) {
      item.append(button(fault.detail, () => goTo(fault)), el("code", lines[fault.line - 1]));
    } else {
      item.textContent = fault.detail;
    }
    return item;
  }));
  const first = faults.find((fault) => fault.line);
  if (first) goTo(first);
}

function goTo(fault) {
  const field = $("dialplan-form").elements.source;
  const before = field.value.split("\n").slice(0, fault.line - 1);
  const start = before.reduce((sum, line) => sum + line.length + 1, 0);
  const end = field.value.indexOf("\n", start);
  field.focus();
  field.setSelectionRange(start, end < 0 ? field.value.length : end);
  const height = field.scrollHeight / Math.max(1, field.value.split("\n").length);
  field.scrollTop = Math.max(0, (fault.line - 3) * height);
}

// --- versions --------------------------------------------------------------------------------

async function showVersions() {
  const versions = await api("GET", `${pathOf(edited.id)}/versions?count=${LIST_COUNT}`);
  $("version").replaceChildren(...versions.items.map((v) => {
    const note = v.version === edited.version ? ", in use" : "";
    const comment = v.comment ? `: ${v.comment}` : "";
    const text = `${v.version}${note}, ${dateAndTime(v.created_at)} by ${v.author}${comment}`;
    const choice = option(text, v.version);
    choice.selected = v.version === edited.version;
    return choice;
  }));
  $("version-row").hidden = false;
}

export async function viewVersion() {
  const number = $("version").value;
  const version = await api("GET", `${pathOf(edited.id)}/versions/${number}`);
  openEditor({ ...version, name: edited.name }, `Dialplan ${edited.name}, as it was in version ${number}`);
}

export async function rollBack() {
  const version = Number($("version").value);
  edited = await api("POST", `${pathOf(edited.id)}/rollback`, { version });
  openEditor(edited, `Dialplan ${edited.name}, back at version ${version}`);
  await Promise.all([showVersions(), refreshDialplans()]);
}

// --- who uses them ---------------------------------------------------------------------------

let accountsShown = [];

const addressOf = (account) => `${account.username}@${account.domain}`;

// Leave alone what the user is choosing just now.
function fillUse(dialplans, accounts) {
  const form = $("use-dialplan");
  form.hidden = !dialplans.length || !accounts.length;
  if (form.contains(document.activeElement)) return;
  const { account, out, in: incoming } = form.elements;
  const chosen = account.value;
  accountsShown = accounts;
  account.replaceChildren(...accounts.map((a) => option(addressOf(a), a.id)));
  $("callers").replaceChildren(...accounts.map((a) => option("", addressOf(a))));
  if (accounts.some((a) => a.id === chosen)) account.value = chosen;
  for (const select of [out, incoming]) {
    select.replaceChildren(option("none", ""), ...dialplans.map((d) => option(d.name, d.name)));
  }
  showUse();
}

export function showUse() {
  const { account, out, in: incoming } = $("use-dialplan").elements;
  const found = accountsShown.find((a) => a.id === account.value);
  choose(out, found && found.out_dialplan);
  choose(incoming, found && found.in_dialplan);
}

// Names of dialplans are the same in any case.
function choose(select, name) {
  const wanted = (name || "").toLowerCase();
  const found = Array.from(select.options).find((o) => o.value.toLowerCase() === wanted);
  select.value = found ? found.value : "";
}

export async function useDialplan() {
  const { account, out, in: incoming } = $("use-dialplan").elements;
  const body = { out_dialplan: out.value || null, in_dialplan: incoming.value || null };
  const changed = await api("PATCH", `/sip-accounts/${encodeURIComponent(account.value)}`, body);
  accountsShown = accountsShown.map((a) => (a.id === changed.id ? changed : a));
  $("use-done").textContent = "Saved.";
}

export function watchDialplanControls() {
  watchDryRunControls();
  onSubmit("dry-run-form", () => runDry(inEditor()));
  const form = $("use-dialplan");
  form.elements.account.addEventListener("change", showUse);
  form.addEventListener("input", () => { $("use-done").textContent = ""; });
  for (const [id, action] of [["new-dialplan", newDialplan], ["close-dialplan", closeEditor],
    ["view-version", viewVersion], ["roll-back", rollBack],
    ["replay-last", () => replayLast(inEditor())]]) {
    $(id).addEventListener("click", () => attempt(action, $(id)));
  }
}
