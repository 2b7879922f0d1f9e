"""The token that `tandemctl login` keeps: a file of the user alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import httpx

from tandemctl.errors import NOT_ALLOWED, Problem

HTTP_SECONDS = 10.0


def token_file(environ: Mapping[str, str]) -> Path:
    """Where the token is kept."""
    base = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "tandem" / "token"


def read_token(path: Path) -> str:
    """The token in the file; empty if there is none."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Problem(f"{path} can't be read: {error.strerror}") from None


def keep_token(path: Path, token: str) -> None:
    """Write it so that nobody else can read it, not even for a moment."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as out:
            out.write(token + "\n")
        fresh.replace(path)
    except OSError as error:
        raise Problem(f"{path} can't be written: {error.strerror}") from None


def forget_token(path: Path) -> None:
    """Remove the file."""
    path.unlink(missing_ok=True)


def log_in(base: str, username: str, password: str, ca: Path | None) -> str:
    """A token from `POST /api/v1/login`. Raises Problem."""
    answer = _post(base, "/login", ca, json={"username": username, "password": password})
    if answer.status_code == 401:
        raise Problem("this user name and password do not match", NOT_ALLOWED)
    _check(answer)
    try:
        return str(answer.json()["token"])
    except (ValueError, KeyError, TypeError):
        raise Problem(f"{base} gave no token: is it Tandem's?") from None


def log_out(base: str, token: str, ca: Path | None) -> None:
    """End the session on the server. Raises Problem."""
    answer = _post(base, "/logout", ca, headers={"Authorization": f"Bearer {token}"})
    if answer.status_code != 401:  # it had ended by itself
        _check(answer)


def _post(
    base: str,
    path: str,
    ca: Path | None,
    *,
    json: object = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    verify: str | bool = str(ca) if ca is not None else True
    try:
        with httpx.Client(timeout=HTTP_SECONDS, verify=verify) as client:
            return client.post(f"{base.rstrip('/')}/api/v1{path}", json=json, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise Problem(f"{base} does not answer: {error}") from None


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    try:
        problem = answer.json()
        said = problem.get("detail") or problem.get("title")
    except (ValueError, AttributeError):
        said = None
    raise Problem(str(said or f"the server answered {answer.status_code}"))
