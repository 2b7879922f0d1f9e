"""The console's event stream, as its script runs it: in Node, where that is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import services.provisioning

STATIC = Path(services.provisioning.__file__).parent / "static"

SCRIPT = """
const element = () => ({
  dataset: {}, elements: { filter: { value: "" } }, childElementCount: 0, textContent: "",
  classList: { add() {}, remove() {}, toggle() {} }, replaceChildren() {}, prepend() {},
});
const elements = {};
globalThis.sessionStorage = { getItem: () => null };
globalThis.document = { getElementById: (id) => (elements[id] ??= element()) };

const streams = [];
let pages = 0, arrived, late;
const reached = new Promise((resolve) => { arrived = resolve; });
const answer = () => new Response(JSON.stringify({ items: [], cursor: 7 }));
globalThis.fetch = async (url, { headers }) => {
  if (headers.Accept === "text/event-stream") {
    streams.push(new URL(url, "http://there").searchParams.get("filter"));
    return new Response(new ReadableStream());
  }
  pages += 1;
  if (pages === 1) return new Response("{}", { status: 503 });
  if (pages > 2) return answer();
  arrived();
  return new Promise((resolve) => { late = () => resolve(answer()); });
};

const { watchEvents } = await import("./events.js");
const filter = (text) => { document.getElementById("filter").elements.filter.value = text; };
filter("former");
await watchEvents(() => {});
await reached; // the server is asked again
filter("present");
await watchEvents(() => {});
late();
await new Promise((resolve) => setImmediate(resolve));
console.log(JSON.stringify(streams));
process.exit();
"""


def test_a_filter_that_was_replaced_while_the_server_was_away_is_not_followed(
    tmp_path: Path,
) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    for name in ("api.js", "dom.js", "events.js"):
        shutil.copy(STATIC / name, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "main.js").write_text(SCRIPT)
    ran = subprocess.run(
        [node, "main.js"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == ["present"]
