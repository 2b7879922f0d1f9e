// API keys: made, shown once, ended.
"use strict";

import { api } from "./api.js";
import { $, ask, attempt, button, dateAndTime, el, fillTable } from "./dom.js";

const LIST_COUNT = 1000; // all that one answer holds: the newest, last in the list, is to be seen

export async function refreshKeys() {
  const [keys, me] = await Promise.all([
    api("GET", `/api-keys?count=${LIST_COUNT}`),
    api("GET", "/me"),
  ]);
  $("key-owner").hidden = !me.admin;
  $("keys").classList.toggle("only-mine", keys.items.every((k) => k.owner === me.username));
  fillTable("keys", keys, keyCells, "No keys: a program needs one to use the API.");
}

function keyCells(key) {
  const actions = el("td", null, "actions");
  actions.append(button("Revoke", () => revoke(key), key.name));
  const begins = el("td");
  begins.append(el("code", `${key.prefix}…`));
  const over = new Date(key.expires_at) < new Date();
  return [key.name, el("td", key.owner, "owner"), begins,
    dateAndTime(key.created_at), el("td", dateAndTime(key.expires_at), over ? "bad" : ""), actions];
}

async function revoke(key) {
  const title = `Revoke the key ${key.name}?`;
  const text = `Programs that use it (${key.prefix}…) get 401 from now on. This can't be undone.`;
  if ((await ask({ title, text, action: "Revoke" })) === null) return;
  await api("DELETE", `/api-keys/${encodeURIComponent(key.id)}`);
  if ($("new-key").dataset.key === key.id) closeKey();
  await refreshKeys();
}

// --- a new one -------------------------------------------------------------------------------

export async function addKey() {
  const form = $("add-key");
  const { name, lifetime_days: days, owner } = form.elements;
  const body = { name: name.value.trim(), lifetime_days: Number(days.value) };
  if (!$("key-owner").hidden && owner.value.trim()) body.owner = owner.value.trim();
  showKey(await api("POST", "/api-keys", body));
  form.reset();
  await refreshKeys();
}

function showKey(key) {
  $("new-key-title").textContent = `The key ${key.name} of ${key.owner}`;
  $("key-secret").value = key.secret;
  $("key-copied").textContent = "";
  $("new-key").dataset.key = key.id;
  $("new-key").hidden = false;
  $("new-key").scrollIntoView({ block: "nearest" });
  $("copy-key").focus();
}

function closeKey() {
  $("key-secret").value = "";
  $("new-key").dataset.key = "";
  $("new-key").hidden = true;
}

export function forgetKeys() {
  closeKey();
  $("add-key").reset();
}

// Over plain HTTP from another computer a page has no clipboard, but what is selected can be copied.
async function copyKey() {
  const field = $("key-secret");
  field.select();
  const copied = await navigator.clipboard?.writeText(field.value).then(() => true, () => false);
  $("key-copied").textContent = copied || document.execCommand("copy")
    ? "Copied." : "It is selected: copy it with Ctrl+C.";
}

export function watchKeyControls() {
  $("copy-key").addEventListener("click", () => attempt(copyKey, $("copy-key")));
  $("close-key").addEventListener("click", closeKey);
}
