// Elements, tables and questions. Whatever comes from the API is put in with textContent, never
// as HTML: a phone chooses its own name and User-Agent.
"use strict";

export const $ = (id) => document.getElementById(id);

export function el(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = String(text);
  if (className) node.className = className;
  return node;
}

export function button(text, action) {
  const node = el("button", text, "quiet");
  node.type = "button";
  node.addEventListener("click", () => attempt(action, node));
  return node;
}

// `from` tells which of two sources an error has, so that only the same one takes it back.
export function showError(text, from = "user") {
  $("error").textContent = text || "";
  $("error").hidden = !text;
  $("error").dataset.from = text ? from : "";
}

export function clearError(from) {
  if ($("error").dataset.from === from) showError("");
}

// Run an action of the user; while it runs its button is off, and what fails is told. What ended
// the session was told already.
export async function attempt(action, control) {
  if (control) control.disabled = true;
  try {
    showError("");
    await action();
  } catch (error) {
    if (error.status !== 401) showError(error.message);
  } finally {
    if (control) control.disabled = false;
  }
}

export function onSubmit(id, action) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(action, event.submitter);
  });
}

// --- tables ----------------------------------------------------------------------------------

// Fill a table with a page of items. Each cell bears its column's title, for narrow screens.
export function fillTable(id, page, cells, emptyText) {
  const table = $(id);
  const titles = Array.from(table.tHead.rows[0].cells, (cell) => cell.textContent);
  const body = el("tbody");
  for (const item of page.items) {
    const row = el("tr");
    for (const cell of cells(item)) {
      const node = cell instanceof HTMLTableCellElement ? cell : el("td", cell);
      node.dataset.label = titles[row.cells.length];
      row.append(node);
    }
    body.append(row);
  }
  const more = page.total - page.items.length;
  if (!page.items.length) body.append(noteRow(titles.length, emptyText));
  else if (more > 0) body.append(noteRow(titles.length, `and ${more} more: see the API`));
  table.tBodies[0].replaceWith(body);
}

function noteRow(columns, text) {
  const cell = el("td", text, "empty");
  cell.colSpan = columns;
  const row = el("tr");
  row.append(cell);
  return row;
}

// --- questions -------------------------------------------------------------------------------

// Ask in a dialog. Resolves to null when the user thinks better of it, else to what was typed.
export function ask({ title, text, action, password = false }) {
  const dialog = $("ask");
  const input = dialog.querySelector("input[type=password]");
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-yes").textContent = action;
  $("ask-password").hidden = !password;
  input.required = password;
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes" ? input.value : null);
      input.value = "";
    }, { once: true });
  });
}

// --- times and addresses ---------------------------------------------------------------------

const when = (value) => new Date(typeof value === "number" ? value * 1000 : value);
export const clock = (value) => (value ? when(value).toLocaleTimeString() : "");
export const dateAndTime = (value) => (value ? when(value).toLocaleString() : "");
export const bare = (uri) => (uri || "").replace(/^sips?:/, "");

export function seconds(value) {
  const whole = Math.round(value || 0);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
