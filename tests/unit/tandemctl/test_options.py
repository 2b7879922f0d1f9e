"""The command line itself: wrong usage is one line, and secrets stay private."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tandemctl.__main__ import COMMANDS, main
from tandemctl.errors import Problem
from tandemctl.options import make_parser
from tandemctl.output import clock, printable, seconds
from tandemctl.session import forget_token, keep_token, read_token


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("drain",),
        ("events",),
        ("events", "tail", "--cursor", "-1"),
        ("events", "tail", "--cursor", "9" * 30),
        ("drain", "n", "--wait", "soon"),
        ("calls", "show"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("nodes",),
        ("calls",),
        ("calls", "list"),
        ("calls", "show", "x"),
        ("calls", "hangup", "x"),
        ("bindings", "--aor", "a@b"),
        ("hints",),
        ("drain", "n", "--wait"),
        ("undrain", "n"),
        ("events", "tail"),
    ],
)
def test_json_may_come_before_or_after_the_command(arguments: tuple[str, ...]) -> None:
    parser = make_parser({})
    assert parser.parse_args(arguments).json is False
    assert parser.parse_args([*arguments, "--json"]).json is True
    assert parser.parse_args(["--json", *arguments]).json is True
    assert parser.parse_args(arguments).run in COMMANDS


def test_settings_come_from_the_environment() -> None:
    environ = {
        "TANDEM_GRPC_URL": "a:1",
        "TANDEM_EVENTS_URL": "b:2",
        "TANDEM_TOKEN": "t",
        "TANDEM_GRPC_CA": "/ca.pem",
    }
    options = make_parser(environ).parse_args(["nodes"])
    assert (options.server, options.events, options.token) == ("a:1", "b:2", "t")
    assert options.ca == Path("/ca.pem")
    assert make_parser({}).parse_args(["nodes"]).server == "127.0.0.1:50051"


def test_certificates_go_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["--token", "t", "--ca", str(tmp_path / "ca.pem"), "nodes"]) == 2
    assert capsys.readouterr().err == "tandemctl: --cert, --key and --ca go together\n"


def test_a_token_is_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "tandem" / "token"
    assert read_token(path) == ""
    keep_token(path, "one")
    keep_token(path, "two")
    assert read_token(path) == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["token"]
    forget_token(path)
    forget_token(path)
    assert read_token(path) == ""


def test_a_place_that_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tandem").write_text("in the way")
    with pytest.raises(Problem, match="can't be written"):
        keep_token(tmp_path / "tandem" / "token", "one")


def test_help_names_every_command_and_variable() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tandemctl", "--help"], capture_output=True, text=True, check=True
    )
    for word in ("nodes", "calls", "bindings", "hints", "drain", "undrain", "events", "login"):
        assert f"    {word} " in done.stdout
    for variable in ("TANDEM_GRPC_URL", "TANDEM_EVENTS_URL", "TANDEM_TOKEN", "TANDEM_HTTP_URL"):
        assert variable in done.stdout


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["nodes", "--nosuch"], "tandemctl nodes"),
        (["events", "tail", "--nosuch", "x"], "tandemctl events tail"),
        (["calls", "show", "a", "b"], "tandemctl calls show"),
    ],
)
def test_the_help_of_the_command_is_named_that_does_not_know_an_option(
    capsys: pytest.CaptureFixture[str], arguments: list[str], command: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert f"(see {command} --help)" in said
    assert "unrecognized arguments" in said


def test_texts_for_people() -> None:
    assert printable("a\tb\x1b\u202ec") == "a\ufffdb\ufffd\ufffdc"
    assert (clock(0), clock(None)) == ("", "")
    assert [seconds(value) for value in (-1, 5, 180, 7200)] == ["0 s", "5 s", "3 min", "2 h"]
