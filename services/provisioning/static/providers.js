// Telephone providers, and how the registrations at them stand.
"use strict";

import { api } from "./api.js";
import { $, ask, attempt, bare, button, clock, el, fillTable } from "./dom.js";

const LIST_COUNT = 100;
const TEXTS = ["name", "server", "username", "auth_username", "outbound_proxy", "from_header",
  "register_contact"];

let edited = null; // the provider in the form; null: a new one

export async function refreshProviders() {
  const [providers, bindings] = await Promise.all([
    api("GET", `/providers?count=${LIST_COUNT}`),
    api("GET", `/provider-bindings?count=${LIST_COUNT}`),
  ]);
  const states = new Map(bindings.items.map((b) => [b.provider, b]));
  fillTable("providers", providers, (p) => providerCells(p, states.get(p.id)),
    "No providers: add one to call out and be called.");
}

function providerCells(provider, binding) {
  const actions = el("td", null, "actions");
  actions.append(
    button("Edit", () => edit(provider)),
    provider.enabled
      ? button("Disable", () => change(provider, { enabled: false }))
      : button("Enable", () => change(provider, { enabled: true })),
    button("Delete", () => remove(provider)),
  );
  return [provider.name, bare(provider.server) || (provider.callback || {}).origin || "",
    provider.register_contact, stateCell(provider, binding), actions];
}

function stateCell(provider, binding) {
  if (!provider.enabled) return el("td", "disabled", "bad");
  if (!binding) return el("td", "not registered at");
  if (binding.state === "registered") {
    return el("td", `registered until ${clock(binding.expires_at)}`, "good");
  }
  const told = binding.reason || binding.status || ""; // the reason begins with the status
  return el("td", told ? `${binding.state}: ${told}` : binding.state, binding.reason ? "bad" : "");
}

const pathOf = (provider) => `/providers/${encodeURIComponent(provider.id)}`;

async function change(provider, fields) {
  await api("PATCH", pathOf(provider), fields);
  await refreshProviders();
}

async function remove(provider) {
  const text = "It is unregistered, and calls through it fail.";
  const answer = await ask({ title: `Delete the provider ${provider.name}?`, text, action: "Delete" });
  if (answer === null) return;
  await api("DELETE", pathOf(provider));
  if (edited && edited.id === provider.id) closeProvider();
  await refreshProviders();
}

// --- the form --------------------------------------------------------------------------------

export async function newProvider() {
  edited = null;
  await openForm({ register: true }, "New provider");
  $("provider-form").elements.name.focus();
}

async function edit(provider) {
  edited = provider;
  await openForm(provider, `Provider ${provider.name}`);
}

async function openForm(provider, title) {
  const fields = $("provider-form").elements;
  for (const name of TEXTS) fields[name].value = provider[name] || "";
  fields.password.value = "";
  fields.password.placeholder = provider.has_password ? "unchanged" : "";
  fields.register.checked = provider.register;
  await fillDialplans(provider.in_dialplan);
  $("provider-title").textContent = title;
  $("provider-form").hidden = false;
  $("provider-form").scrollIntoView({ block: "nearest" });
}

async function fillDialplans(chosen) {
  const dialplans = await api("GET", `/dialplans?count=${LIST_COUNT}`);
  const names = ["", ...dialplans.items.map((d) => d.name)];
  const same = names.find((name) => name.toLowerCase() === (chosen || "").toLowerCase());
  if (chosen && same === undefined) names.push(chosen);
  $("provider-form").elements.in_dialplan.replaceChildren(...names.map((name) => {
    const option = el("option", name || "none");
    option.value = name;
    option.selected = name === (same ?? chosen ?? "");
    return option;
  }));
}

export function closeProvider() {
  edited = null;
  $("provider-form").reset();
  $("provider-form").hidden = true;
}

export async function saveProvider() {
  const fields = $("provider-form").elements;
  const body = { register: fields.register.checked, in_dialplan: fields.in_dialplan.value || null };
  for (const name of TEXTS) body[name] = fields[name].value.trim();
  if (fields.password.value) body.password = fields.password.value;
  await (edited ? api("PATCH", pathOf(edited), body) : api("POST", "/providers", body));
  closeProvider();
  await refreshProviders();
}

export function watchProviderControls() {
  $("new-provider").addEventListener("click", () => attempt(newProvider, $("new-provider")));
  $("close-provider").addEventListener("click", closeProvider);
}
