// The REST API: one token, errors as sentences, and news of a session that has ended.
"use strict";

const API = "/api/v1";
const TOKEN_KEY = "tandem-token";
const USER_KEY = "tandem-user";

let token = sessionStorage.getItem(TOKEN_KEY);

export class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
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

function problemText(status, problem) {
  if (problem.errors && problem.errors.length) {
    return problem.errors.map((e) => `${e.field}: ${e.detail}`).join("; ");
  }
  return problem.detail || problem.title || `The server answered ${status}.`;
}

// A request with the token. Throws ApiError; a 401 also ends the session, once.
export async function request(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  const used = token;
  if (used) headers.Authorization = `Bearer ${used}`;
  let response;
  try {
    response = await fetch(API + path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "Tandem does not answer. Is it running?");
  }
  if (response.ok) return response;
  if (response.status === 401 && used && used === token) {
    document.dispatchEvent(new CustomEvent("session-ended"));
  }
  const problem = await response.json().catch(() => ({}));
  throw new ApiError(response.status, problemText(response.status, problem));
}

export async function api(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const response = await request(path, options);
  return response.status === 204 ? null : response.json();
}
