"""Sealed texts: opened by the right key and for the right row, and by nothing else."""

from __future__ import annotations

import base64

import pytest

from services.provisioning.adapters.secretbox import SecretBox
from services.provisioning.config import ProvisioningConfig
from services.provisioning.ports import SealBroken
from tandem.runtime.config import ConfigError, load

OLD, NEW = "the key of yesterday", "the key of today"


def test_a_text_comes_back_and_is_never_sealed_alike() -> None:
    box = SecretBox([NEW])
    sealed = {box.seal("röse🦊", "row") for _ in range(20)}
    assert len(sealed) == 20
    assert {box.open(text, "row") for text in sealed} == {"röse🦊"}
    assert not any("röse" in base64.b64decode(t.split(".")[2]).decode("latin1") for t in sealed)


def test_an_old_key_opens_and_the_newest_seals() -> None:
    sealed = SecretBox([OLD]).seal("x", "row")
    both = SecretBox([NEW, OLD])
    assert both.open(sealed, "row") == "x"
    assert both.is_old(sealed)
    assert not both.is_old(both.seal("x", "row"))
    assert SecretBox([NEW]).open(both.seal("x", "row"), "row") == "x"
    # the same key twice is one key
    assert not SecretBox([OLD, NEW, OLD]).is_old(SecretBox([OLD]).seal("x", "row"))


def test_what_does_not_fit_is_not_opened_and_not_told() -> None:
    box = SecretBox([NEW])
    sealed = box.seal("secret", "row")
    form, key, data = sealed.split(".")
    raw = bytearray(base64.b64decode(data))
    raw[-1] ^= 1
    changed = base64.b64encode(raw).decode()
    for text, row in [
        (sealed, "another row"),
        (f"{form}.{key}.{changed}", "row"),
        (f"{form}.{key}.{data[:8]}", "row"),
        (f"{form}.{key}.?", "row"),
        (f"2.{key}.{data}", "row"),
        (SecretBox([OLD]).seal("secret", "row"), "row"),
        ("nonsense", "row"),
        ("", "row"),
    ]:
        with pytest.raises(SealBroken) as caught:
            box.open(text, row)
        assert "secret" not in str(caught.value)


def test_the_id_of_a_key_is_the_same_on_all_nodes_and_tells_nothing_of_it() -> None:
    one, two = (SecretBox([NEW]).seal("x", "row").split(".")[1] for _ in range(2))
    assert one == two
    assert NEW not in one


def test_without_a_key_nothing_is_sealed() -> None:
    assert not SecretBox([]).usable
    assert SecretBox([NEW]).usable


def test_the_keys_of_a_service_are_its_own_then_the_clusters_then_the_old_ones() -> None:
    key, cluster = "k" * 16, "c" * 16
    config = load(
        ProvisioningConfig,
        {
            "TANDEM_SECRET_KEY": key,
            "TANDEM_CLUSTER_KEY": cluster,
            "TANDEM_OLD_SECRET_KEYS": f"old, {cluster}",
        },
    )
    assert config.secrets == (key, cluster, "old")
    assert load(ProvisioningConfig, {"TANDEM_CLUSTER_KEY": cluster}).secrets == (cluster,)
    assert load(ProvisioningConfig, {}).secrets == ()
    assert key not in repr(config)
    assert "old" not in repr(config).replace("old_", "")


@pytest.mark.parametrize(
    ("name", "value"), [("TANDEM_SECRET_KEY", "short"), ("TANDEM_BARRED_PROVIDERS", "(")]
)
def test_a_wrong_setting_is_told_by_its_name(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load(ProvisioningConfig, {name: value})
