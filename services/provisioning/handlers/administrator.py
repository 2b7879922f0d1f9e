"""The first administrator."""

from __future__ import annotations

from typing import Final

from services.provisioning.domain.entities import Customer
from services.provisioning.domain.rules import CUSTOMER_RULES, clean
from services.provisioning.domain.scope import EVERYTHING
from services.provisioning.domain.secrets import new_password
from services.provisioning.ports import Clock, PasswordHasher, Store

ADMINISTRATOR: Final = "admin"


async def ensure_administrator(
    store: Store, hasher: PasswordHasher, clock: Clock, password: str | None
) -> str | None:
    """Make `admin` unless there is one; the password if we had to think of one ourselves.

    Raises Invalid for a password that breaks a rule."""
    async with store.read(EVERYTHING) as work:
        if await work.customers.get(ADMINISTRATOR) is not None:
            return None
    if password is not None:
        clean({"password": CUSTOMER_RULES["password"]}, {"password": password})
    chosen = password or new_password()
    customer = Customer(
        username=ADMINISTRATOR,
        password_hash=await hasher.hash(chosen),
        name="Administrator",
        admin=True,
        created_at=clock(),
    )
    async with store.write(EVERYTHING) as work:
        if await work.customers.get(ADMINISTRATOR) is not None:
            return None
        await work.customers.insert(customer)
    return None if password else chosen
