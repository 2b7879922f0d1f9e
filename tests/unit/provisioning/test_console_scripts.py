"""The console's scripts where what they asked for comes late: in Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import services.provisioning
from tests.support.installs import require

STATIC = Path(services.provisioning.__file__).parent / "static"
PAGE = """
const fields = () => new Proxy({}, { get: (made, name) => (made[name] ??= element()) });
const element = () => ({
  dataset: {}, elements: fields(), parts: fields(),
  tHead: { rows: [{ cells: [] }] },
  tBodies: [{ replaceChildren() {}, replaceWith() {}, contains: () => false }],
  value: "", textContent: "", childElementCount: 0, hidden: true,
  classList: { add() {}, remove() {}, toggle() {} },
  querySelector(css) { return this.parts[css]; },
  querySelectorAll: () => [],
  get parentElement() { return element(); },
  append() {}, prepend() {}, replaceChildren() {}, scrollIntoView() {},
});
const page = fields();
globalThis.sessionStorage = { getItem: () => null };
globalThis.document = { getElementById: (id) => page[id], createElement: element };

const answer = (content) => new Response(JSON.stringify(content));
// Answers to what is asked for, in order; `later` is one that comes when `come` is called.
const answers = [];
const later = (content) => {
  let come;
  const coming = new Promise((resolve) => { come = () => resolve(answer(content)); });
  return { coming, come };
};
globalThis.fetch = async () => answers.shift();
const settled = () => new Promise((resolve) => setImmediate(resolve));
const done = (found) => { console.log(JSON.stringify(found)); process.exit(); };
"""


def found_by(script: str, folder: Path) -> Any:
    """What a script is `done` with that runs in the page."""
    node = require("node")
    for path in STATIC.glob("*.js"):
        shutil.copy(path, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "main.js").write_text(PAGE + script)
    ran = subprocess.run(
        [node, "main.js"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_a_filter_that_was_replaced_while_the_server_was_away_is_not_followed(
    tmp_path: Path,
) -> None:
    script = """
const streams = [], last = { items: [], cursor: 7 };
const late = later(last);
let reached;
const asked = new Promise((resolve) => { reached = resolve; });
answers.push(new Response("{}", { status: 503 }), late.coming, answer(last));
globalThis.fetch = async (url, { headers }) => {
  if (headers.Accept === "text/event-stream") {
    streams.push(new URL(url, "http://there").searchParams.get("filter"));
    return new Response(new ReadableStream());
  }
  const next = answers.shift();
  if (next === late.coming) reached();
  return next;
};
const { watchEvents } = await import("./events.js");
const field = page.filter.elements.filter;
field.value = "former";
await watchEvents(() => {});
await asked; // again, by what follows
field.value = "present";
await watchEvents(() => {});
late.come();
await settled();
done(streams);
"""
    assert found_by(script, tmp_path) == ["present"]


def test_a_dry_run_is_not_shown_beside_another_dialplan(tmp_path: Path) -> None:
    script = """
const { forgetRun, runDry } = await import("./dryrun.js");
const run = { end: "refused", status: 486, reason: "Busy Here", seconds: 1, steps: [] };
const late = later(run);
answers.push(late.coming, answer(run));
const running = runDry({ dialplan: null, program: {} });
forgetRun();
late.come();
await running;
const stale = page["dry-run-outcome"].hidden;
await runDry({ dialplan: null, program: {} });
done([stale, page["dry-run-outcome"].hidden]);
"""
    assert found_by(script, tmp_path) == [True, False]


def test_a_replay_is_not_shown_beside_another_dialplan(tmp_path: Path) -> None:
    script = """
const { forgetReplays, replayLast } = await import("./replay.js");
const late = later({ items: [] }), one = { dialplan: { id: "1", name: "one", owner: "ann" } };
answers.push(late.coming, answer({ items: [] }));
const replaying = replayLast(one);
forgetReplays();
late.come();
await replaying;
const stale = page["replay-said"].textContent;
await replayLast(one);
done([stale, page["replay-said"].textContent]);
"""
    assert found_by(script, tmp_path) == ["", "No call has run this dialplan yet."]


def test_a_replay_of_one_call_is_not_shown_beside_another(tmp_path: Path) -> None:
    script = """
const { forgetCall, offerReplay, replayCall } = await import("./replay.js");
const events = [{ type: "dialplan.started", owner: "ann", data: { dialplan: "one", version: 1 } }];
const dialplan = { id: "1", name: "one", owner: "ann", version: 1 };
const now = { end: "refused", status: 486, reason: "Busy Here", seconds: 1, steps: [] };
const replayed = { id: "c", now, dialled_before: [], status_before: 486, dialled_now: [],
  status_now: 486, differs: false };
const told = { calls: [replayed], skipped: [] };
const late = later(told);
const offer = async (id) => {
  answers.push(answer({ items: [dialplan] }), answer({ items: [{ version: 1 }] }));
  await offerReplay({ id, record: {}, events }, { dialplan: null, program: {} });
};
await offer("former");
answers.push(late.coming);
const replaying = replayCall();
await offer("present");
late.come();
await replaying;
const stale = page["replay-outcome"].hidden;
answers.push(answer(told));
await replayCall();
done([stale, page["replay-outcome"].hidden]);
"""
    assert found_by(script, tmp_path) == [True, False]
