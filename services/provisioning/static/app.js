// The console page: logging in, and keeping what is shown up to date.
"use strict";

import { addAccount, fillDomains, hideSettings, refreshAccounts } from "./accounts.js";
import { api, forgetSession, hasSession, keepSession, loadConfig, userName } from "./api.js";
import { refreshCalls } from "./calls.js";
import {
  closeEditor, refreshDialplans, saveDialplan, useDialplan, watchDialplanControls,
} from "./dialplans.js";
import { $, attempt, clearError, clearFaults, onSubmit, showError } from "./dom.js";
import { stopEvents, watchEvents } from "./events.js";
import { addKey, forgetKeys, refreshKeys, watchKeyControls } from "./keys.js";
import { forgetNodes, refreshNodes } from "./nodes.js";
import { closeProvider, refreshProviders, saveProvider, watchProviderControls } from "./providers.js";
import { forgetCall, replayCall } from "./replay.js";
import { forgetTransfers, transfer, watchTransferControls } from "./transfer.js";

const REFRESH_MS = 15000; // what no event tells of: accounts that another page changed
const SETTLE_MS = 300; // one refresh for a burst of events
const SECOND_LOOK_MS = 1500; // the list of registrations is about a second behind their events
const PROVIDERS_LOOK_MS = 4000; // how registrations at providers stand is told every two seconds

let refreshTimer = null;
let settleTimer = null;
let secondLookTimer = null;
let providersLookTimer = null;

async function refreshAll() {
  await Promise.all([
    refreshAccounts(), refreshCalls(), refreshNodes(), refreshProviders(), refreshDialplans(),
    refreshKeys(),
  ]);
}

async function refreshQuietly() {
  if (!hasSession()) return;
  try {
    await refreshAll();
    clearError("refresh");
  } catch (error) {
    if (error.status !== 401) showError(error.message, "refresh");
  }
}

function refreshSoon(event) {
  settleTimer ??= setTimeout(() => {
    settleTimer = null;
    refreshQuietly();
  }, SETTLE_MS);
  clearTimeout(secondLookTimer);
  secondLookTimer = setTimeout(refreshQuietly, SECOND_LOOK_MS);
  if (event && event.type.startsWith("provider.")) {
    clearTimeout(providersLookTimer);
    providersLookTimer = setTimeout(refreshQuietly, PROVIDERS_LOOK_MS);
  }
}

function show(loggedIn) {
  $("login-view").hidden = loggedIn;
  $("console").hidden = !loggedIn;
  $("who").hidden = !loggedIn;
  $("username").textContent = loggedIn ? userName() : "";
  if (loggedIn) $("console").before($("error"));
  else $("login-button").before($("error"));
}

async function enter() {
  show(true);
  clearInterval(refreshTimer);
  refreshTimer = setInterval(refreshQuietly, REFRESH_MS);
  // calls and events may be away while all else is there
  await Promise.all([fillDomains(), refreshQuietly()]);
  await watchEvents(refreshSoon);
}

function signOut(text) {
  forgetSession();
  stopEvents();
  clearInterval(refreshTimer);
  clearTimeout(secondLookTimer);
  clearTimeout(providersLookTimer);
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  for (const table of document.querySelectorAll("#console table")) {
    table.tBodies[0].replaceChildren();
  }
  $("events").replaceChildren();
  $("steps").replaceChildren();
  forgetCall();
  $("add-account").reset();
  hideSettings();
  closeProvider();
  closeEditor();
  forgetKeys();
  forgetTransfers();
  forgetNodes();
  clearFaults($("console"));
  show(false);
  showError(text);
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
  keepSession(name, session.token);
  $("login").reset();
  await enter();
}

async function logOut() {
  await api("POST", "/logout").catch(() => null);
  signOut("");
}

onSubmit("login", logIn);
onSubmit("add-account", addAccount);
onSubmit("provider-form", saveProvider);
onSubmit("dialplan-form", saveDialplan);
onSubmit("use-dialplan", useDialplan);
watchProviderControls();
watchDialplanControls();
onSubmit("add-key", addKey);
watchKeyControls();
onSubmit("transfer-form", transfer);
watchTransferControls();
onSubmit("replay-call", replayCall);
onSubmit("filter", () => watchEvents(refreshSoon));
$("logout").addEventListener("click", () => attempt(logOut, $("logout")));
$("clear-events").addEventListener("click", () => $("events").replaceChildren());
$("close-settings").addEventListener("click", hideSettings);
$("close-steps").addEventListener("click", () => $("steps-dialog").close());
$("ask-no").addEventListener("click", () => $("ask").close());
document.addEventListener("calls-changed", () => refreshSoon(null));
document.addEventListener("session-ended", () => {
  signOut("Your session has ended. Log in again.");
});

async function begin() {
  await loadConfig();
  if (hasSession()) await enter();
}

show(hasSession());
attempt(begin);
