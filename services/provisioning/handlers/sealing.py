"""What nobody may read of a provider: sealed into one text, opened for appservers alone."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final
from urllib.parse import urlsplit

from services.provisioning.domain.errors import invalid
from services.provisioning.domain.programs import CallbackOutline, StoredProvider
from services.provisioning.ports import SealBroken, Sealer
from tandem.rpc.programs import CallbackForm, Provider

_PAIRS: Final = ("headers", "fields")
_SHOWN: Final = ("kind", "method", "number", "phone_type", "pattern", "users", "seconds")
"""What a callback form and its outline have in common."""
_SAME: Final = (
    "id", "owner", "name", "server", "username", "auth_username", "realm", "outbound_proxy",
    "from_header", "custom_headers", "in_dialplan", "register", "register_contact",
    "register_server", "register_expires", "enabled",
)  # fmt: skip
"""What a provider has for appservers just as it is stored."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """The password, and what of a callback form may hold a secret."""

    password: str = field(default="", repr=False)
    url: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: str = field(default="", repr=False)


SECRET_FIELDS: Final = frozenset(f.name for f in fields(Secrets))
NOTHING: Final = Secrets()


class Sealing:
    """Seals and opens the secrets of providers."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._told: set[str] = set()

    def sealed(self, provider: str, secrets: Secrets) -> str:
        """What to keep; "" for no secrets. Raises Invalid where there is no key."""
        if secrets == NOTHING:
            return ""
        if not self._sealer.usable:
            raise invalid("password", "secrets can't be kept: TANDEM_SECRET_KEY is not set")
        return self._sealer.seal(json.dumps(asdict(secrets)), provider)

    def opened(self, stored: StoredProvider) -> Secrets | None:
        """None when they can't be opened, which the log tells once."""
        if not stored.sealed:
            return NOTHING
        try:
            values: dict[str, Any] = json.loads(self._sealer.open(stored.sealed, stored.id))
        except SealBroken as fault:
            if stored.id not in self._told:
                self._told.add(stored.id)
                _log.error("the secrets of provider %s can't be opened: %s", stored.id, fault)
            return None
        for name in _PAIRS:
            values[name] = tuple((key, text) for key, text in values[name])
        return Secrets(**values)

    def is_old(self, stored: StoredProvider) -> bool:
        """Whether they wait to be sealed by a newer key."""
        return bool(stored.sealed) and self._sealer.usable and self._sealer.is_old(stored.sealed)

    def provider(self, stored: StoredProvider, *, owner_enabled: bool) -> tuple[Provider, bool]:
        """As appservers need it, and whether its secrets could be opened. If not it is disabled:
        with a wrong password it would be locked out."""
        opened = self.opened(stored)
        values = {name: getattr(stored, name) for name in _SAME}
        values["enabled"] = stored.enabled and stored.removed_at is None and opened is not None
        secrets = opened or NOTHING
        made = Provider(
            password=secrets.password,
            callback=_form(stored.callback, secrets),
            owner_enabled=owner_enabled,
            **values,
        )
        return made, opened is not None


def _form(outline: CallbackOutline | None, secrets: Secrets) -> CallbackForm | None:
    if outline is None:
        return None
    shown = {name: getattr(outline, name) for name in _SHOWN}
    return CallbackForm(
        url=secrets.url,
        headers=secrets.headers,
        fields=secrets.fields,
        body=secrets.body,
        **shown,
    )


def outline_of(shown: dict[str, Any], secrets: Secrets) -> CallbackOutline:
    """What may be told of a callback form: `shown` of it as it is, of the rest that it is there."""
    parts = urlsplit(secrets.url)
    host = parts.netloc.rpartition("@")[2]
    return CallbackOutline(
        origin=f"{parts.scheme}://{host}" if host else "",
        header_names=tuple(name for name, _ in secrets.headers),
        field_names=tuple(name for name, _ in secrets.fields),
        has_body=bool(secrets.body),
        **shown,
    )


def shown_of(outline: CallbackOutline | None) -> dict[str, Any]:
    """The part of an outline that `outline_of` takes as it is."""
    return {name: getattr(outline, name) for name in _SHOWN} if outline else {}
