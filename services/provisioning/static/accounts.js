// SIP accounts, what to enter in their phones, and who is registered.
"use strict";

import { api, userName } from "./api.js";
import { $, ask, button, clock, el, fillTable } from "./dom.js";

const LIST_COUNT = 100;
const WAYS = { udp: "UDP", tcp: "TCP", tls: "TLS", ws: "WebSocket", wss: "secure WebSocket" };

export async function refreshAccounts() {
  const [accounts, bindings] = await Promise.all([
    api("GET", `/sip-accounts?count=${LIST_COUNT}`),
    api("GET", `/bindings?count=${LIST_COUNT}`),
  ]);
  const phones = new Map();
  for (const b of bindings.items) phones.set(b.aor, (phones.get(b.aor) || 0) + 1);
  const others = accounts.items.some((a) => a.owner !== userName());
  $("accounts").classList.toggle("only-mine", !others);
  fillTable("accounts", accounts, (a) => accountCells(a, phones), "No accounts yet: add one.");
  fillTable("bindings", bindings, (b) => [
    b.aor, b.received || b.contact, b.user_agent, clock(b.expires_at),
  ], "No phone is registered.");
}

function accountCells(account, phones) {
  const name = `${account.username}@${account.domain}`;
  const state = account.enabled ? el("td", "enabled", "good") : el("td", "disabled", "bad");
  const actions = el("td", null, "actions");
  actions.append(
    button("Phone settings", () => showSettings(account)),
    button("New password", () => changePassword(account, name)),
    account.enabled
      ? button("Disable", () => disable(account, name))
      : button("Enable", () => change(account, { enabled: true })),
    button("Delete", () => remove(account, name)),
  );
  return [name, el("td", account.owner, "owner"),
    phones.get(name.toLowerCase()) || phones.get(name) || 0, state, actions];
}

const pathOf = (account) => `/sip-accounts/${encodeURIComponent(account.id)}`;

async function change(account, fields) {
  await api("PATCH", pathOf(account), fields);
  await refreshAccounts();
}

async function disable(account, name) {
  const text = "Its phones can no longer register, call or be called, until you enable it again.";
  const answer = await ask({ title: `Disable ${name}?`, text, action: "Disable" });
  if (answer !== null) await change(account, { enabled: false });
}

async function changePassword(account, name) {
  const text = "Its phones need the new password then, too.";
  const title = `New password for ${name}`;
  const answer = await ask({ title, text, action: "Change", password: true });
  if (answer !== null) await change(account, { password: answer });
}

async function remove(account, name) {
  const text = "Its phones can no longer register, call or be called.";
  const answer = await ask({ title: `Delete ${name}?`, text, action: "Delete" });
  if (answer === null) return;
  await api("DELETE", pathOf(account));
  if ($("phone-settings").dataset.account === account.id) hideSettings();
  await refreshAccounts();
}

// --- phone settings --------------------------------------------------------------------------

// How phones reach this switch: what it says, or in a cluster the addresses of its proxies, which
// administrators may see.
async function reachOfPhones() {
  for (const [path, read] of [["/phone-settings", (found) => found], ["/nodes", reachOfProxies]]) {
    try {
      return read(await api("GET", path));
    } catch (error) {
      if (error.status !== 404 && error.status !== 403) throw error;
    }
  }
  return reachOfProxies({ items: [] });
}

function reachOfProxies(nodes) {
  const up = nodes.items.filter((n) => n.kind === "proxy" && n.state === "active");
  const servers = up.flatMap((n) => n.public || []).map((place) => {
    const transport = place.slice(0, place.indexOf(":"));
    const address = place.slice(transport.length + 1);
    return { transport, address, host: address.slice(0, address.lastIndexOf(":")) };
  });
  return { servers, unnamed_domain: null };
}

async function showSettings(account) {
  const reach = await reachOfPhones();
  const list = $("phone-settings").querySelector("dl");
  list.replaceChildren();
  for (const [name, value] of settingsOf(account, reach)) {
    list.append(el("dt", name), el("dd", value));
  }
  $("settings-title").textContent = `Enter this in the phone of ${account.username}`;
  $("settings-note").textContent = settingsNote(reach);
  $("phone-settings").dataset.account = account.id;
  $("phone-settings").hidden = false;
  $("phone-settings").scrollIntoView({ block: "nearest" });
}

function settingsOf(account, reach) {
  const [first] = reach.servers;
  const unnamed = account.domain === reach.unnamed_domain;
  const settings = [
    ["User name", account.username],
    ["Password", "the one that the account was given"],
    [unnamed ? "Server (domain, registrar)" : "Domain", unnamed ? first.address : account.domain],
  ];
  const ways = new Map();
  for (const server of reach.servers) {
    const way = WAYS[server.transport] || server.transport;
    const scheme = server.transport.startsWith("ws") ? `${server.transport}://` : "";
    const place = scheme + server.address;
    ways.set(place, ways.has(place) ? `${ways.get(place)} or ${way}` : way);
  }
  if (unnamed && ways.size === 1) return [...settings, ["Transport", ways.values().next().value]];
  for (const [place, way] of ways) settings.push([`Outbound proxy, ${way}`, place]);
  return settings;
}

function settingsNote(reach) {
  const loopback = reach.servers.length > 0 && reach.servers.every((s) => /^(127\.|::1$|localhost$)/.test(s.host));
  return loopback
    ? "Only phones on this computer reach these addresses. For others, start Tandem with --sip " +
      "(a cluster: --host) and an address in your network."
    : "If a phone asks for an authentication name, it is the user name.";
}

export function hideSettings() {
  $("phone-settings").hidden = true;
}

// --- adding ----------------------------------------------------------------------------------

export async function fillDomains() {
  const domains = await api("GET", `/domains?count=${LIST_COUNT}`);
  const select = $("add-account").elements.domain;
  select.replaceChildren(...domains.items.map((d) => {
    const option = el("option", d.name);
    option.value = d.name;
    option.selected = d.default === true;
    return option;
  }));
  select.closest("label").hidden = domains.items.length < 2;
}

export async function addAccount() {
  const form = $("add-account");
  const { username, password, domain } = form.elements;
  const body = { username: username.value.trim(), password: password.value };
  if (domain.value) body.domain = domain.value;
  const account = await api("POST", "/sip-accounts", body);
  username.value = password.value = "";
  await Promise.all([showSettings(account), refreshAccounts()]);
}
