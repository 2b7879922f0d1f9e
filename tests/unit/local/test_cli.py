"""The command `tandem`: what it says of options that it does not know."""

from __future__ import annotations

import pytest

from services.local.cli import main


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["local", "--nosuch"], "tandem local"),
        (["local", "more"], "tandem local"),
        (["db", "current", "--nosuch", "x"], "tandem db"),
        (["proxy", "--nosuch"], "tandem proxy"),
        (["local", "--log-level", "loud"], "tandem local"),
        (["nosuch"], "tandem"),
        (["--nosuch", "local"], "tandem local"),
    ],
)
def test_the_help_of_the_command_is_named(
    capsys: pytest.CaptureFixture[str], arguments: list[str], command: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tandem: ")
    assert line.endswith(f"(see {command} --help)")
