// What a dry run found: how the call would end, where the program is wrong, and each step.
"use strict";

import { button, clearFaults, el } from "./dom.js";

export const shortSeconds = (value) => `${Number(value.toFixed(1))} s`;

export function endOf(run) {
  const after = `after ${shortSeconds(run.seconds)}`;
  switch (run.end) {
    case "answered": return `Answered by ${run.answered_by} ${after}.`;
    case "gone": return `The caller hangs up ${after}.`;
    case "fault": return `The program fails ${after}; the caller gets ${run.status} ${run.reason}.`;
    default: return `The caller gets ${run.status} ${run.reason} ${after}.`;
  }
}

// `goTo` leads to a line of the program, where that is in the editor.
export function showOutcome(around, run, goTo) {
  const end = around.querySelector(".end");
  end.textContent = endOf(run);
  end.classList.toggle("bad", run.end !== "answered");
  end.classList.toggle("good", run.end === "answered");
  around.querySelector(".faults").replaceChildren(...faultsOf(run, goTo));
  around.querySelector(".events").replaceChildren(...run.steps.map(stepLine));
  around.hidden = false;
}

export function hideOutcome(around) {
  around.hidden = true;
  around.querySelector(".end").textContent = "";
  for (const list of around.querySelectorAll("ol")) list.replaceChildren();
  clearFaults(around.parentElement);
}

function faultsOf(run, goTo) {
  const { problem, limit } = run;
  if (!problem) return [];
  const place = problem.line ? `line ${problem.line}, column ${problem.column}: ` : "";
  const text = place + problem.message + (limit ? ` (beyond the limit of ${limit})` : "");
  const item = el("li");
  item.append(problem.line && goTo ? button(text, () => goTo(problem)) : text);
  return [item];
}

function stepLine(step) {
  const line = el("li");
  const told = step.data.assumed ? `${step.text} (assumed, since nothing was said of it)` : step.text;
  line.append(el("time", shortSeconds(step.at)), el("span", step.what, "type"), el("span", told));
  return line;
}
