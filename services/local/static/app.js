// The console page. Everything that comes from the API is put in with textContent, never as HTML.
"use strict";

const API = "/api/v1";
const MAX_EVENTS_SHOWN = 300;
const REFRESH_MS = 15000; // what no event tells of: registrations that another page changed
const SETTLE_MS = 300; // one refresh for a burst of events
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 30000;
const LIST_COUNT = 100;
const CDR_COUNT = 25;

const $ = (id) => document.getElementById(id);
let token = sessionStorage.getItem("tandem-token");
let stream = null; // the AbortController of the running event stream
let lastId = null;
let refreshTimer = null;
let settleTimer = null;

// --- the API ---------------------------------------------------------------------------------

class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

function problemText(status, problem) {
  if (problem.errors && problem.errors.length) {
    return problem.errors.map((e) => `${e.field}: ${e.detail}`).join("; ");
  }
  return problem.detail || problem.title || `The server answered ${status}.`;
}

async function request(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(API + path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "Tandem does not answer. Is it running?");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new ApiError(response.status, problemText(response.status, problem));
}

async function api(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const response = await request(path, options);
  return response.status === 204 ? null : response.json();
}

// --- small helpers ---------------------------------------------------------------------------

function el(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = String(text);
  if (className) node.className = className;
  return node;
}

function button(text, action) {
  const node = el("button", text, "quiet");
  node.type = "button";
  node.addEventListener("click", () => attempt(action, node));
  return node;
}

function showError(text) {
  $("error").textContent = text || "";
  $("error").hidden = !text;
}

// Run an action of the user; while it runs its button is off, and what fails is told.
async function attempt(action, control) {
  if (control) control.disabled = true;
  try {
    showError("");
    await action();
  } catch (error) {
    if (error.status === 401) signOut("Your session has ended. Log in again.");
    else showError(error.message);
  } finally {
    if (control) control.disabled = false;
  }
}

function rows(tableId, items, cells, emptyText) {
  const table = $(tableId);
  const body = el("tbody");
  for (const item of items) {
    const row = el("tr");
    for (const cell of cells(item)) {
      row.append(cell instanceof HTMLElement && cell.tagName === "TD" ? cell : el("td", cell));
    }
    body.append(row);
  }
  if (!items.length) {
    const cell = el("td", emptyText, "empty");
    cell.colSpan = table.tHead.rows[0].cells.length;
    const row = el("tr");
    row.append(cell);
    body.append(row);
  }
  table.tBodies[0].replaceWith(body);
}

const when = (value) => new Date(typeof value === "number" ? value * 1000 : value);
const clock = (value) => (value ? when(value).toLocaleTimeString() : "");
const dateAndTime = (value) => (value ? when(value).toLocaleString() : "");
const bare = (uri) => (uri || "").replace(/^sips?:/, "");

function seconds(value) {
  const whole = Math.round(value || 0);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

// --- accounts --------------------------------------------------------------------------------

async function refreshAccounts() {
  const [accounts, bindings] = await Promise.all([
    api("GET", `/sip-accounts?count=${LIST_COUNT}`),
    api("GET", `/bindings?count=${LIST_COUNT}`),
  ]);
  const phones = new Map();
  for (const b of bindings.items) phones.set(b.aor, (phones.get(b.aor) || 0) + 1);
  rows("accounts", accounts.items, (a) => accountCells(a, phones), "No accounts yet: add one.");
  rows("bindings", bindings.items, (b) => [
    b.aor, b.received || b.contact, b.user_agent, clock(b.expires_at),
  ], "No phone is registered.");
}

function accountCells(account, phones) {
  const name = `${account.username}@${account.domain}`;
  const state = account.enabled ? el("td", "enabled", "good") : el("td", "disabled", "bad");
  const actions = el("td", null, "actions");
  const path = `/sip-accounts/${encodeURIComponent(account.id)}`;
  actions.append(
    button("Phone settings", () => showSettings(account)),
    " ",
    button(account.enabled ? "Disable" : "Enable", async () => {
      await api("PATCH", path, { enabled: !account.enabled });
      await refreshAccounts();
    }),
    " ",
    button("Delete", async () => {
      if (!window.confirm(`Delete ${name}? Its phones can no longer call.`)) return;
      await api("DELETE", path);
      await refreshAccounts();
    }),
  );
  return [name, account.owner, phones.get(name.toLowerCase()) || phones.get(name) || 0, state,
    actions];
}

function showSettings(account) {
  const here = window.location.hostname;
  const fromOutside = !/^(localhost|127\.|\[::1\])/.test(here);
  const list = $("phone-settings").querySelector("dl");
  list.replaceChildren();
  const settings = [
    ["User name", account.username],
    ["Authentication name", account.username],
    ["Password", "the one given when the account was added"],
    ["Domain", account.domain === "local" ? here : account.domain],
    ["Server (outbound proxy)", `${here}:5060, UDP or TCP`],
  ];
  for (const [name, value] of settings) list.append(el("dt", name), el("dd", value));
  $("settings-note").textContent =
    (fromOutside ? "" : `A phone on another machine needs this computer's address in the network ` +
      `in place of ${here}. `) +
    "The port is another one if Tandem was started with --sip; it prints its addresses.";
  $("phone-settings").hidden = false;
  $("phone-settings").scrollIntoView({ block: "nearest" });
}

async function fillDomains() {
  const domains = await api("GET", `/domains?count=${LIST_COUNT}`);
  const select = $("add-account").elements.domain;
  select.replaceChildren(...domains.items.map((d) => {
    const option = el("option", d.name);
    option.value = d.name;
    return option;
  }));
}

async function addAccount() {
  const form = $("add-account");
  const { username, password, domain } = form.elements;
  const body = { username: username.value.trim(), password: password.value };
  if (domain.value) body.domain = domain.value;
  const account = await api("POST", "/sip-accounts", body);
  form.reset();
  showSettings(account);
  await refreshAccounts();
}

// --- calls -----------------------------------------------------------------------------------

async function refreshCalls() {
  const [calls, cdrs] = await Promise.all([
    api("GET", `/calls?count=${LIST_COUNT}`),
    api("GET", `/cdrs?count=${CDR_COUNT}`),
  ]);
  rows("calls", calls.items, (c) => [
    clock(c.started_at), bare(c.caller), bare(c.destination),
    c.state + (c.answered_by ? ` by ${bare(c.answered_by)}` : ""),
  ], "No call is under way.");
  rows("cdrs", cdrs.items, (c) => [
    dateAndTime(c.created_at), bare(c.caller), bare(c.destination),
    el("td", `${c.status} ${c.status_reason}`, c.status < 300 ? "good" : "bad"),
    c.end_reason, c.answered_at ? seconds(c.duration) : "–",
  ], "No call was made yet.");
}

// --- events ----------------------------------------------------------------------------------

function showEvent(event) {
  const list = $("events");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const line = el("li");
  const time = el("time", clock(event.time));
  if (event.time) time.title = dateAndTime(event.time);
  const failed = /failed|dropped|gap/.test(event.type || "");
  line.append(time, el("span", event.type, "type"), el("span", event.message, failed ? "bad" : ""));
  list.append(line);
  while (list.childElementCount > MAX_EVENTS_SHOWN) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function onMessage(name, data) {
  const event = JSON.parse(data);
  if (name === "closed") return;
  showEvent(event);
  if (/^(call|registration|node)\.|^gap$/.test(event.type)) refreshSoon();
}

// Server-sent events by fetch, so that the token travels in a header and not in the address.
async function readStream(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", name = "message", data = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (data.length) onMessage(name, data.join("\n"));
        name = "message";
        data = [];
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "id") lastId = text;
      else if (field === "event") name = text;
      else if (field === "data") data.push(text);
    }
  }
}

async function loadRecentEvents(filter) {
  const page = await api("GET", `/events?count=50&filter=${encodeURIComponent(filter)}`);
  $("events").replaceChildren();
  page.items.forEach(showEvent);
  lastId = String(page.cursor);
}

async function watchEvents() {
  if (stream) stream.abort();
  const mine = (stream = new AbortController());
  const filter = $("filter").elements.filter.value.trim();
  await loadRecentEvents(filter);
  let retry = FIRST_RETRY_MS;
  while (stream === mine) {
    try {
      const headers = { Accept: "text/event-stream", "Last-Event-ID": lastId };
      const path = `/events?filter=${encodeURIComponent(filter)}`;
      const response = await request(path, { headers, signal: mine.signal });
      $("stream-state").textContent = "live";
      retry = FIRST_RETRY_MS;
      refreshSoon();
      await readStream(response);
    } catch (error) {
      if (stream !== mine) return;
      if (error.status === 401) return signOut("Your session has ended. Log in again.");
      if (error.status === 429) showError(error.message);
    }
    if (stream !== mine) return;
    $("stream-state").textContent = "not connected, trying again …";
    await new Promise((resolve) => setTimeout(resolve, retry));
    retry = Math.min(retry * 2, MAX_RETRY_MS);
  }
}

// --- the page --------------------------------------------------------------------------------

async function refreshAll() {
  await Promise.all([refreshAccounts(), refreshCalls()]);
}

async function refreshQuietly() {
  try {
    await refreshAll();
    if ($("error").dataset.from === "refresh") showError("");
    delete $("error").dataset.from;
  } catch (error) {
    if (error.status === 401) return signOut("Your session has ended. Log in again.");
    showError(error.message);
    $("error").dataset.from = "refresh";
  }
}

function refreshSoon() {
  if (settleTimer || !token) return;
  settleTimer = setTimeout(() => {
    settleTimer = null;
    if (token) refreshQuietly();
  }, SETTLE_MS);
}

function show(loggedIn) {
  $("login-view").hidden = loggedIn;
  $("console").hidden = !loggedIn;
  $("who").hidden = !loggedIn;
  $("username").textContent = loggedIn ? sessionStorage.getItem("tandem-user") || "" : "";
}

async function enter() {
  show(true);
  refreshTimer = setInterval(refreshQuietly, REFRESH_MS);
  await Promise.all([fillDomains(), refreshAll()]);
  watchEvents().catch((error) => showError(error.message));
}

function signOut(text) {
  token = null;
  sessionStorage.clear();
  if (stream) stream.abort();
  stream = null;
  clearInterval(refreshTimer);
  for (const id of ["accounts", "bindings", "calls", "cdrs"]) $(id).tBodies[0].replaceChildren();
  $("events").replaceChildren();
  $("phone-settings").hidden = true;
  show(false);
  showError(text || "");
}

async function logIn() {
  const { username, password } = $("login").elements;
  const name = username.value.trim();
  let session;
  try {
    session = await api("POST", "/login", { username: name, password: password.value });
  } catch (error) {
    if (error.status === 401) throw new Error("This user name and password do not match.");
    throw error;
  }
  token = session.token;
  sessionStorage.setItem("tandem-token", token);
  sessionStorage.setItem("tandem-user", name);
  $("login").reset();
  await enter();
}

function onSubmit(id, action) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(action, event.submitter);
  });
}

onSubmit("login", logIn);
onSubmit("add-account", addAccount);
onSubmit("filter", async () => {
  watchEvents().catch((error) => showError(error.message));
});
$("logout").addEventListener("click", () => attempt(async () => {
  await api("POST", "/logout").catch(() => null);
  signOut("");
}));
$("clear-events").addEventListener("click", () => $("events").replaceChildren());
$("close-settings").addEventListener("click", () => { $("phone-settings").hidden = true; });

if (token) attempt(enter);
else show(false);
