"""What is made of the settings alone, for `app.py`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from services.appserver.config import AppServerConfig
from services.appserver.domain.authentication import Authenticator
from services.appserver.domain.guard import Guard
from services.appserver.handlers.accounts import AccountCache
from services.appserver.handlers.programs import Ages, ProgramCache, Spawn
from tandem.rpc.directory import Directory
from tandem.rpc.programs import Programs
from tandem.sip.nonce import NonceCounter, NonceSource


def authenticator(config: AppServerConfig) -> Authenticator:
    """Who challenges. Without a secret of the cluster's its nonces are its own."""
    secret = (config.nonce_secret or config.cluster_key).encode() or os.urandom(32)
    guard = Guard(
        forbid_after=config.forbid_after,
        ban_after=config.ban_after,
        ban_address_after=config.ban_address_after,
        ban_seconds=config.ban_seconds,
    )
    key = hashlib.sha256(b"tandem nonce" + secret).digest()
    nonces = NonceSource(key, config.nonce_seconds)
    return Authenticator(nonces, NonceCounter(), guard, config.digest_algorithms)


def accounts(
    config: AppServerConfig, directory: Directory, spawn: Spawn, clock: Callable[[], float]
) -> AccountCache:
    """Accounts at hand."""
    return AccountCache(
        directory,
        spawn,
        clock,
        fresh_seconds=config.account_seconds,
        usable_seconds=config.account_max_seconds,
        missing_seconds=config.missing_seconds,
        limit=config.max_accounts,
    )


def programs(
    config: AppServerConfig, source: Programs, spawn: Spawn, clock: Callable[[], float]
) -> ProgramCache:
    """Dialplans and providers at hand."""
    ages = Ages(config.account_seconds, config.account_max_seconds, config.missing_seconds)
    return ProgramCache(source, spawn, clock, ages)
