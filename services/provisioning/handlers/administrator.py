"""The first administrator."""

from __future__ import annotations

from typing import Final

from services.provisioning.domain.entities import Customer
from services.provisioning.domain.rules import CUSTOMER_RULES, clean
from services.provisioning.domain.scope import EVERYTHING
from services.provisioning.domain.secrets import new_password
from services.provisioning.ports import Clock, PasswordHasher, Store, Work

ADMINISTRATOR: Final = "admin"


async def ensure_administrator(
    store: Store, hasher: PasswordHasher, clock: Clock, password: str | None
) -> str | None:
    """Make `admin` unless an administrator is there; the password if we had to make one up.

    Raises Invalid for a password that breaks a rule."""
    async with store.read(EVERYTHING) as work:
        if await _is_there(work):
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
        if await _is_there(work):
            return None
        await work.customers.insert(customer)
    return None if password else chosen


async def _is_there(work: Work) -> bool:
    """An `admin` that was deleted for another administrator does not come back by itself."""
    if await work.customers.count_administrators():
        return True
    return await work.customers.get(ADMINISTRATOR) is not None
