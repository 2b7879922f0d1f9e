"""What values may be."""

from __future__ import annotations

from typing import Any

import pytest

from services.provisioning.domain import rules
from services.provisioning.domain.errors import Invalid


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        (rules.customer_username, "Alice", "alice"),
        (rules.sip_username, "7", "7"),
        (rules.sip_username, "work.Desk-1_a", "work.Desk-1_a"),
        (rules.password, "pâté à l’ail", "pâté à l’ail"),
        (rules.domain_name, " Example.COM. ", "example.com"),
        (rules.domain_name, "local", "local"),
        (rules.domain_name, "192.0.2.1", "192.0.2.1"),
        (rules.domain_name, "[2001:DB8:0::1]", "[2001:db8::1]"),
        (rules.networks, ["192.0.2.77/24", "192.0.2.0/24"], ("192.0.2.0/24",)),
        (rules.networks, ["2001:db8::1"], ("2001:db8::1/128",)),
        (rules.email, "", ""),
        (rules.email, " me@example.com ", "me@example.com"),
        (rules.optional(rules.line(5)), None, None),
        (rules.number(1, 3), 3, 3),
    ],
)
def test_a_good_value_is_taken_in_its_clean_form(
    rule: rules.Rule, value: Any, expected: Any
) -> None:
    assert rule(value) == expected


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (rules.customer_username, "a"),
        (rules.customer_username, "-a"),
        (rules.customer_username, "a.b"),
        (rules.customer_username, "aé"),
        (rules.sip_username, ""),
        (rules.sip_username, "a..b"),
        (rules.sip_username, "b."),
        (rules.sip_username, "é"),
        (rules.sip_username, "a\n"),
        (rules.sip_username, "DISPATCHER"),
        (rules.password, "12345"),
        (rules.password, "x" * 129),
        (rules.password, "abc\x00def"),
        (rules.password, "abc\ud800def"),
        (rules.domain_name, ""),
        (rules.domain_name, "a" * 254),
        (rules.domain_name, "example.com:5060"),
        (rules.domain_name, "exam\r\nple.com"),
        (rules.domain_name, "münchen.example"),
        (rules.aliases, ["x"] * 33),
        (rules.networks, ["10.0.0.0/8"] * 33),
        (rules.networks, ["::/0"]),
        (rules.networks, ["host.example"]),
        (rules.email, "nobody"),
        (rules.line(5), "123456"),
        (rules.line(5, required=True), "  "),
        (rules.line(50), "a\r\nb"),
        (rules.number(1, 3), 4),
    ],
)
def test_a_bad_value_is_refused(rule: rules.Rule, value: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        rule(value)


def test_all_faults_are_told_at_once_and_unknown_fields_are_faults() -> None:
    with pytest.raises(Invalid) as raised:
        rules.clean(rules.ACCOUNT_RULES, {"username": "", "max_bindings": 0, "colour": 1})
    assert [field for field, _ in raised.value.errors] == ["username", "max_bindings", "colour"]


def test_every_field_of_the_api_has_a_rule() -> None:
    from services.provisioning.entrypoints import http_models as models

    for body, table in (
        (models.NewAccount, rules.ACCOUNT_RULES),
        (models.NewCustomer, rules.CUSTOMER_RULES),
        (models.NewDomain, rules.DOMAIN_RULES),
        (models.NewKey, rules.API_KEY_RULES),
    ):
        assert set(body.model_fields) == set(table)
