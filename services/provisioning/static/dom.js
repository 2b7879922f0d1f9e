// Elements, faults, tables and questions. Whatever comes from the API is put in with textContent,
// never as HTML: a phone chooses its own name and User-Agent.
"use strict";

export const $ = (id) => document.getElementById(id);

export function el(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = String(text);
  if (className) node.className = className;
  return node;
}

// `about` says which of several buttons with the same text this is, to who does not see the row.
export function button(text, action, about) {
  const node = el("button", text, "quiet");
  node.type = "button";
  if (about) node.setAttribute("aria-label", `${text}: ${about}`);
  node.addEventListener("click", () => attempt(action, node));
  return node;
}

export function option(text, value) {
  const node = el("option", text);
  node.value = value;
  return node;
}

// --- faults ----------------------------------------------------------------------------------

// `from` tells which of two sources an error has, so that only the same one takes it back.
export function showError(text, from = "user") {
  $("error").textContent = text || "";
  $("error").hidden = !text;
  $("error").dataset.from = text ? from : "";
}

export function clearError(from) {
  if ($("error").dataset.from === from) showError("");
}

// The nearest place for faults around a control; null: there is only that above everything.
function placeOf(control) {
  for (let around = control && control.parentElement; around; around = around.parentElement) {
    const place = around.querySelector(":scope > .fault");
    if (place) return place;
  }
  return null;
}

export function tell(place, text) {
  if (!place) {
    showError(text);
    return;
  }
  place.textContent = text;
  place.hidden = !text;
}

export function clearFaults(around) {
  for (const place of around.querySelectorAll(".fault")) tell(place, "");
  for (const note of around.querySelectorAll(".field-fault")) note.remove();
  for (const field of around.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

// Put what is wrong with fields of the form beside them; what is left is for the form's place.
function tellFields(form, error) {
  if (!error.errors || !error.errors.length) return error.message;
  const told = error.errors.filter((fault) => tellField(form.elements[fault.field], fault.detail));
  const first = form.querySelector("[aria-invalid]");
  if (first) first.focus();
  const rest = error.errors.filter((fault) => !told.includes(fault));
  return rest.map((fault) => `${fault.field}: ${fault.detail}`).join("; ");
}

function tellField(field, text) {
  const label = field instanceof HTMLElement && field.closest("label");
  if (!label || label.hidden) return false;
  const folded = label.closest("details");
  if (folded) folded.open = true;
  field.setAttribute("aria-invalid", "true");
  label.append(el("span", text, "field-fault"));
  return true;
}

// Run an action of the user; while it runs its button is off, and what fails is told where it was
// asked for. What ended the session was told already.
export async function attempt(action, control) {
  const place = placeOf(control);
  const form = place && place.closest("form");
  const focus = focusOf(control);
  if (control) control.disabled = true;
  try {
    if (form) clearFaults(form);
    clearError("user");
    tell(place, "");
    await action();
  } catch (error) {
    if (error.status !== 401) tell(place, form ? tellFields(form, error) : error.message);
  } finally {
    if (control) control.disabled = false;
    focus();
  }
}

// A control that is off loses the focus, and so does one whose table is filled anew: how to give
// it back, unless it has gone elsewhere meanwhile.
function focusOf(control) {
  const [held, row] = [document.activeElement, control && control.closest("tr")];
  if (!control || held !== control) return () => {};
  const again = row ? rowFocus(row, control) : () => control;
  return () => {
    const [found, active] = [again(), document.activeElement];
    // what was in a dialog that is closed has the focus for a little longer
    const lost = !active || active === document.body || !active.checkVisibility();
    if (found && lost) found.focus();
  };
}

function rowFocus(row, control) {
  const table = row.closest("table");
  const [{ key }, name] = [row.dataset, control.textContent];
  return () => {
    const same = Array.from(table.tBodies[0].rows).find((each) => each.dataset.key === key);
    return same && Array.from(same.querySelectorAll("button")).find((b) => b.textContent === name);
  };
}

export function onSubmit(id, action) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(action, event.submitter || $(id).querySelector("button:not([type=button])"));
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
    row.dataset.key = item.id;
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
  const held = document.activeElement;
  const focus = table.tBodies[0].contains(held) ? focusOf(held) : () => {};
  table.tBodies[0].replaceWith(body);
  focus();
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
