"""How the Ruby interpreter comes to its place, and what is not taken for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tandem.dialplan import ruby_install, ruby_module

NPM = f"""#!{sys.executable}
import io, sys, tarfile
assert sys.argv[1:3] == ["pack", "--silent"], sys.argv
with tarfile.open(sys.argv[-1] + "/ruby.tgz", "w:gz") as package:
    member = tarfile.TarInfo("{ruby_install.MEMBER}")
    member.size = 4
    package.addfile(member, io.BytesIO(b"evil"))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment without Ruby, on a machine whose npm has another package than ours."""
    npm = tmp_path / "npm"
    npm.write_text(NPM)
    npm.chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["ruby_install", str(tmp_path / "no.lock")])
    return ruby_module.home()


def test_another_file_than_the_known_one_is_not_installed(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ruby_install.main() == 1
    assert "another file than the one that is known" in capfd.readouterr().err
    assert not folder.exists()


def test_what_is_installed_is_not_fetched_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ruby_module, "SHA256", ruby_install._hash(b"ruby"))
    folder.mkdir(parents=True)
    (folder / ruby_module.NAME).write_bytes(b"ruby")
    (folder / ruby_module._code_name()).write_bytes(b"code")
    assert ruby_install.main() == 0


def test_code_is_compiled_once_and_found_where_it_was_put(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ruby_module, "SHA256", ruby_install._hash(b"\0asm\1\0\0\0"))
    folder.mkdir(parents=True)
    (folder / ruby_module.NAME).write_bytes(b"\0asm\1\0\0\0")  # the empty module
    assert ruby_module.compiled(folder) is None
    assert ruby_install.main() == 0
    code = ruby_module.compiled(folder)
    assert code is not None
    assert code.parent == folder
    assert code.stat().st_mode & 0o777 == 0o644


def test_a_module_that_was_changed_is_not_compiled(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / ruby_module.NAME).write_bytes(b"\0asm\1\0\0\0")
    with pytest.raises(ruby_module.NotInstalled):
        ruby_module.compile_into_place(folder)


def test_without_npm_the_one_of_pypi_is_taken_by_its_lock(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "npm").unlink()
    assert ruby_install.main() == 1  # there is no such lock
    said = capfd.readouterr().err
    assert "taking one from PyPI" in said
    assert "could not be installed" in said
