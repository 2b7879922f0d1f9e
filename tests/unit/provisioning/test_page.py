"""The console page obeys its content security policy, and its parts fit together."""

from __future__ import annotations

import re
from pathlib import Path

STATIC = Path(__file__).parents[3] / "services" / "provisioning" / "static"
HTML = (STATIC / "index.html").read_text()
SCRIPT = "\n".join(path.read_text() for path in sorted(STATIC.glob("*.js")))
STYLE = (STATIC / "style.css").read_text()


def test_nothing_is_inline() -> None:
    assert re.findall(r"<script(?![^>]*\bsrc=)", HTML) == []
    assert re.findall(r"\s(?:style|on\w+)=", HTML) == []
    assert "<style" not in HTML


def test_nothing_comes_from_elsewhere() -> None:
    assert re.findall(r"https?://|(?:src|href)=\"//", HTML + SCRIPT + STYLE) == []
    for path in re.findall(r"(?:src|href)=\"/static/([^\"]+)", HTML):
        assert (STATIC / path).is_file()


def test_nothing_is_put_in_as_html() -> None:
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", SCRIPT) == []
    )


def test_each_element_that_the_script_asks_for_exists() -> None:
    ids = set(re.findall(r"\bid=\"([^\"]+)\"", HTML))
    asked = set(re.findall(r"\$\(\"([^\"]+)\"\)", SCRIPT))
    asked |= set(re.findall(r"(?:rows|onSubmit)\(\"([^\"]+)\"", SCRIPT))
    assert asked
    assert asked <= ids
