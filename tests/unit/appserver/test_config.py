"""Settings that can't be: one line that names the variable."""

from __future__ import annotations

import pytest

from services.appserver.adapters.admission import Admission
from services.appserver.config import AppServerConfig
from tandem.runtime.config import ConfigError

KEY = "0123456789abcdef"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"TANDEM_BROKER_URL": "amqp://h"}, "TANDEM_CLUSTER_KEY is not set"),
        ({"TANDEM_DIRECTORY_URL": "h:1"}, "TANDEM_CLUSTER_KEY is not set"),
        ({"TANDEM_CLUSTER_KEY": "short"}, "TANDEM_CLUSTER_KEY is too short"),
        ({"TANDEM_PROXIES": "10.0.0.0/8,proxy.example"}, "TANDEM_PROXIES: 'proxy.example'"),
        ({"TANDEM_CONTACT_HOST": "a@b"}, "TANDEM_CONTACT_HOST: 'a@b'"),
        ({"TANDEM_CONTACT_HOST": "b:0"}, "TANDEM_CONTACT_HOST: 'b:0'"),
        ({"TANDEM_CONTACT_HOST": "b;x"}, "TANDEM_CONTACT_HOST: 'b;x'"),
        ({"TANDEM_WEIGHT": "0"}, "TANDEM_WEIGHT"),
        ({"TANDEM_DRAIN_SECONDS": "-1"}, "TANDEM_DRAIN_SECONDS: -1 is below 0"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AppServerConfig.from_env(settings)
    assert str(caught.value).startswith(named)
    assert "\n" not in str(caught.value)


def test_the_cluster_key_is_not_shown() -> None:
    assert KEY not in repr(AppServerConfig.from_env({"TANDEM_CLUSTER_KEY": KEY}))


@pytest.mark.parametrize(
    ("networks", "sender", "admitted"),
    [
        ((), "127.0.0.1:5070", True),
        ((), "10.1.2.3:5070", True),
        ((), "[fd00::1]:5070", True),
        ((), "8.8.8.8:5070", False),
        ((), "rubbish", False),
        (("10.1.0.0/16", "192.0.2.7"), "10.1.2.3:5070", True),
        (("10.1.0.0/16", "192.0.2.7"), "192.0.2.7:9", True),
        (("10.1.0.0/16", "192.0.2.7"), "10.2.0.1:5070", False),
        (("10.1.0.0/16",), "[fd00::1]:5070", False),
    ],
)
def test_who_may_speak_on_the_link(networks: tuple[str, ...], sender: str, admitted: bool) -> None:
    assert Admission(networks)(sender) is admitted


def test_a_proxy_that_announced_itself_may_speak_from_anywhere() -> None:
    admission = Admission(("10.1.0.0/16",))
    admission.announced("8.8.8.8:5070")
    assert admission("8.8.8.8:5070")
    assert not admission("8.8.8.8:5071")
    assert admission.left("8.8.8.8:5070")
    assert not admission("8.8.8.8:5070")
    assert not admission.left("8.8.8.8:5070")
