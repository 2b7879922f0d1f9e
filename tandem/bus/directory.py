"""What provisioning tells the appservers unasked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DirectoryChanged:
    """Published on Topic.DIRECTORY when an account, a customer, a domain, a dialplan or a provider
    changed."""

    kind: str
    """`sip-account`, `customer`, `domain`, `dialplan` or `provider`."""
    key: str
    """`username@domain` of the account (or of a provider's contact), the customer's user name, the
    domain's name, or `owner/name` of the dialplan or provider."""
