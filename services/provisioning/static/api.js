// The REST API: one token, errors as sentences, and news of a session that has ended.
"use strict";

const API = "/api/v1";
const TOKEN_KEY = "tandem-token";
const USER_KEY = "tandem-user";
const ANSWER_MS = 10000; // a server that says nothing for so long is away
export const LONG_MS = 40000; // for what may take the server 30 s: checks, dry runs, orders for calls

// What an answer means whose server says no more of it.
const PLAIN = {
  403: "You may not do this.",
  413: "This is too much at once.",
  429: "This was asked too often.",
  502: "A part of Tandem does not answer.",
  503: "A part of Tandem does not answer.",
  504: "A part of Tandem does not answer.",
};

let token = sessionStorage.getItem(TOKEN_KEY);
let eventsBases = [""]; // calls and events may be served elsewhere, by several as good as another
let eventsBase = 0; // the one that answered last

export class ApiError extends Error {
  constructor(status, text, errors = []) {
    super(text);
    this.status = status;
    this.errors = errors; // what is wrong with which field, and where in a program
  }
}

export const hasSession = () => token !== null;
export const userName = () => sessionStorage.getItem(USER_KEY) || "";

export function keepSession(username, newToken) {
  token = newToken;
  sessionStorage.setItem(TOKEN_KEY, newToken);
  sessionStorage.setItem(USER_KEY, username);
}

export function forgetSession() {
  token = null;
  sessionStorage.clear();
}

function problemText(response, problem) {
  if (problem.errors && problem.errors.length) {
    return problem.errors.map((e) => `${e.field}: ${e.detail}`).join("; ");
  }
  const { status } = response;
  const told = problem.detail || PLAIN[status] || problem.title || `The server answered ${status}.`;
  const wait = Number(response.headers.get("Retry-After"));
  return wait ? `${told.replace(/ Try again\.$/, "")} Try again in ${wait} s.` : told;
}

// Where calls and events are served; to be awaited once, before anything is asked.
export async function loadConfig() {
  const response = await fetch("/console-config.json", { cache: "no-store" });
  const { events_urls: urls } = await response.json();
  if (urls.length) eventsBases = urls;
}

// Wait for the head of an answer; the body of a stream may take as long as it likes.
async function answered(url, { patience = ANSWER_MS, ...options }) {
  const control = new AbortController();
  const given = options.signal;
  if (given) given.addEventListener("abort", () => control.abort());
  const timer = setTimeout(() => control.abort(), patience);
  try {
    return await fetch(url, { ...options, signal: control.signal, cache: "no-store" });
  } catch (error) {
    if (given && given.aborted) throw error;
    throw new ApiError(0, "Tandem does not answer. Is it running?");
  } finally {
    clearTimeout(timer);
  }
}

// A request with the token. Throws ApiError; a 401 also ends the session, once.
async function request(path, options = {}, base = "") {
  const headers = { Accept: "application/json", ...options.headers };
  const used = token;
  if (used) headers.Authorization = `Bearer ${used}`;
  const response = await answered(base + API + path, { ...options, headers });
  if (response.ok) return response;
  if (response.status === 401 && used && used === token) {
    document.dispatchEvent(new CustomEvent("session-ended"));
  }
  const problem = await response.json().catch(() => ({}));
  throw new ApiError(response.status, problemText(response, problem), problem.errors);
}

// Where calls and events are served apart, all else may be there.
function awayOf(error, base) {
  return base && error.status === 0
    ? new ApiError(0, "What tells of calls and events does not answer.") : error;
}

// A request about calls or events: to the server that answered last, else to the others in turn.
export async function eventsRequest(path, options) {
  for (let tried = 1; ; tried++) {
    const at = eventsBase;
    try {
      return await request(path, options, eventsBases[at]);
    } catch (error) {
      const away = error.status === 0 || error.status >= 502;
      if (!away) throw error;
      if (tried >= eventsBases.length) throw awayOf(error, eventsBases[at]);
      if (eventsBase === at) eventsBase = (at + 1) % eventsBases.length;
    }
  }
}

// What is in an answer, for who has asked: if another has logged in meanwhile it is not for him.
async function contentOf(asked) {
  const mine = token;
  const response = await asked;
  const content = response.status === 204 ? null : await response.json();
  if (token !== mine) throw new ApiError(401, "This session has ended.");
  return content;
}

export const eventsApi = (path) => contentOf(eventsRequest(path));

export async function api(method, path, body, patience) {
  const options = { method, patience };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  return contentOf(request(path, options));
}
