"""What provisioning tells the appservers unasked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DirectoryChanged:
    """Published on Topic.DIRECTORY when an account, a customer or a domain changed."""

    kind: str
    """`sip-account`, `customer` or `domain`."""
    key: str
    """`username@domain` of the account, the customer's user name, or the domain's name."""
