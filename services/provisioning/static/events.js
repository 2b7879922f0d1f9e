// The live event stream.
"use strict";

import { eventsApi, eventsRequest } from "./api.js";
import { $, dateAndTime, el, clock, showError } from "./dom.js";

const MAX_EVENTS_SHOWN = 300;
const FIRST_PAGE = 50;
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 30000;

let stream = null; // the AbortController of the running stream
let lastId = null;

export function eventLine(event) {
  const line = el("li");
  const time = el("time", clock(event.time));
  if (event.time) time.title = dateAndTime(event.time);
  const failed = /failed|dropped|gap/.test(event.type || "");
  const text = event.type === "sip.trace"
    ? sipMessage(event) : el("span", event.message, failed ? "bad" : "");
  line.append(time, el("span", event.type, "type"), text);
  return line;
}

// Its first line, and the whole message where somebody wants to see it.
function sipMessage(event) {
  const found = el("details");
  found.append(el("summary", event.message), el("pre", event.data.message.replaceAll("\r", "")));
  return found;
}

function showEvent(event) {
  const list = $("events");
  list.prepend(eventLine(event));
  while (list.childElementCount > MAX_EVENTS_SHOWN) list.lastElementChild.remove();
}

// Server-sent events by fetch, so that the token travels in a header and not in the address.
async function readStream(response, onMessage) {
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

async function showLast(filter, mine) {
  const page = await eventsApi(`/events?count=${FIRST_PAGE}&filter=${encodeURIComponent(filter)}`);
  if (stream !== mine) return;
  $("events").replaceChildren();
  page.items.forEach(showEvent);
  lastId = String(page.cursor);
}

async function follow(filter, mine, news) {
  if (lastId === null) await showLast(filter, mine);
  if (stream !== mine) return; // a signal that was given before does not stop what begins now
  const headers = { Accept: "text/event-stream", "Last-Event-ID": lastId };
  const path = `/events?filter=${encodeURIComponent(filter)}`;
  const response = await eventsRequest(path, { headers, signal: mine.signal });
  $("stream-state").textContent = "live";
  $("stream-state").classList.add("good");
  news(null); // what no stream told meanwhile
  await readStream(response, (name, data) => {
    if (name === "closed") return;
    const event = JSON.parse(data);
    showEvent(event);
    news(event);
  });
}

async function keepFollowing(filter, mine, news) {
  let retry = FIRST_RETRY_MS;
  while (stream === mine) {
    try {
      await follow(filter, mine, (event) => {
        retry = FIRST_RETRY_MS;
        news(event);
      });
    } catch (error) {
      if (stream !== mine || error.status === 401) return;
      if (error.status === 429) showError(error.message);
    }
    if (stream !== mine) return;
    $("stream-state").textContent = "not connected, trying again …";
    $("stream-state").classList.remove("good");
    await new Promise((resolve) => setTimeout(resolve, retry));
    retry = Math.min(retry * 2, MAX_RETRY_MS);
  }
}

// Show the last events that the filter lets through, then what happens; `news` is called for each.
// Throws ApiError when the filter is no filter; a server that is away is asked again and again.
export async function watchEvents(news) {
  stopEvents();
  const mine = (stream = new AbortController());
  const filter = $("filter").elements.filter.value.trim();
  lastId = null;
  try {
    await showLast(filter, mine);
  } catch (error) {
    if (error.status !== 0 && error.status < 500) throw error;
  }
  if (stream === mine) keepFollowing(filter, mine, news);
}

export function stopEvents() {
  if (stream) stream.abort();
  stream = null;
  $("stream-state").textContent = "";
}
