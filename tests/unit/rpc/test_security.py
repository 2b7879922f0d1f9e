"""The cluster key, the service token and the files of mutual TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from tandem.rpc.security import Security
from tests.support.certificates import Authority, make_certificate

KEY = "a secret of all nodes"


def test_nodes_with_one_key_know_each_other_and_no_others() -> None:
    one, same, other = (Security(cluster_key=key) for key in (KEY, KEY, KEY + "!"))
    assert same.is_service(one.service_token)
    assert not other.is_service(one.service_token)
    assert not one.is_service("")
    assert not one.is_service(one.service_token[:-1])
    assert not one.is_service("ünïcode")


def test_the_key_itself_is_neither_sent_nor_shown() -> None:
    security = Security(cluster_key=KEY)
    assert KEY not in security.service_token
    assert KEY not in repr(security)


def test_each_single_process_has_a_key_of_its_own() -> None:
    assert Security.of_one_process().service_token != Security.of_one_process().service_token


@pytest.mark.parametrize(("key", "told"), [("", "is not set"), ("short", "too short")])
def test_a_key_that_could_be_guessed_is_refused_without_being_told(key: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        Security(cluster_key=key)
    assert not key or key not in str(refused.value).replace("too short", "")


def test_all_three_files_or_none(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, "localhost")
    with pytest.raises(ValueError, match="go together"):
        Security(made.certificate, made.key, None, KEY)


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    node, other = authority.issue("node", "localhost"), authority.issue("other", "localhost")
    missing, nonsense = tmp_path / "missing.pem", tmp_path / "nonsense.pem"
    nonsense.write_text("no PEM")
    assert Security(node.certificate, node.key, authority.certificate, KEY).tls
    for cert, key, ca, told in (
        (missing, node.key, authority.certificate, "TANDEM_GRPC_CERT: .*missing.pem: No such"),
        (node.certificate, node.key, missing, "TANDEM_GRPC_CA: .*missing.pem: No such"),
        (node.certificate, other.key, authority.certificate, "are no certificate and its"),
        (nonsense, node.key, authority.certificate, "are no certificate and its"),
        (node.certificate, node.key, nonsense, "TANDEM_GRPC_CA: .* is no certificate"),
    ):
        with pytest.raises(ValueError, match=told):
            Security(cert, key, ca, KEY)
