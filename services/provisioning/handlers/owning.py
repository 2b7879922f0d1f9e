"""Whose a new thing is, in which domain it lies, and whose calls it may not take.

A dotted user name needs care: a call to `part.username` reaches `username` unless something has
exactly that name (ORIGINAL §1.1), so whoever made `x.alice` would take calls from alice. What
follows the last dot must therefore not be somebody else's in the domain. Accounts and the contacts
that providers call are names of one kind: none of one may stand for another customer's of the
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.provisioning.domain.errors import Conflict, Forbidden, Invalid, invalid
from services.provisioning.ports import Work
from tandem.rpc.sessions import Principal

LOCAL: Final = "local"
"""What stands for the default domain in dial strings and contacts, unless a domain has that
name."""

NAMED: Final = 20
"""Dialplans that a refusal names."""


async def owner_of(work: Work, caller: Principal, wanted: str | None) -> str:
    """Whose it shall be: the caller's, unless an administrator says otherwise. Raises Forbidden
    and Invalid."""
    if wanted is None or wanted == caller.username:
        return caller.username
    if not caller.admin:
        raise Forbidden("Only an administrator makes or gives things to others.", "owner")
    if await work.customers.get(wanted) is None:
        raise invalid("owner", "there is no such customer")
    return wanted


async def domain_of(work: Work, wanted: str | None, field: str = "domain") -> str:
    """The canonical name of the domain that is meant; the default one if none is. Raises
    Invalid."""
    if wanted is None:
        first = (await work.domains.page(0, 1)).items
        if not first:
            raise invalid(field, "no domain is served yet; an administrator must add one")
        return first[0].name
    found = await work.domains.by_any_name(wanted)
    if found is None:
        raise invalid(field, "there is no such domain that you may use")
    return found.name


async def check_dialplans(
    work: Work, owner: str, given: Mapping[str, str | None], before: Mapping[str, str | None]
) -> None:
    """Raises Invalid for the name of a dialplan that the owner does not have. `given` by field;
    what was there `before` and stays is nobody's mistake now."""
    wanted = {k: name for k, name in given.items() if name and name != before.get(k)}
    if not wanted:
        return
    names = sorted(await work.dialplans.names_of(owner), key=str.lower)
    known = {name.lower() for name in names}
    listed = ", ".join(names[:NAMED]) + (" and others" if len(names) > NAMED else "")
    there = f"there is {listed}" if names else "there is none yet"
    faults = [
        (field, f"{owner} has no dialplan {name!r}; {there}")
        for field, name in wanted.items()
        if name.lower() not in known
    ]
    if faults:
        raise Invalid(faults)


async def refuse_capture(
    work: Work, username: str, domain: str, owner: str, field: str = "username"
) -> None:
    """Raises Conflict for a dotted name that would take another customer's calls."""
    rest, dot, target = username.rpartition(".")
    if dot and await _is_anothers(work, target, domain, owner):
        raise Conflict(f"calls to {rest}.{target} reach {target}, who is not yours", field)


async def refuse_contact(work: Work, contact: str, owner: str) -> None:
    """The same for `user@domain` that a provider is to call, which must not be another's itself
    either."""
    username, _, domain = contact.rpartition("@")
    if await _is_anothers(work, username, domain, owner):
        raise Conflict("calls to it reach somebody who is not you", "register_contact")
    await refuse_capture(work, username, domain, owner, "register_contact")


async def _is_anothers(work: Work, username: str, domain: str, owner: str) -> bool:
    if await work.accounts.is_anothers(username, domain, owner):
        return True
    return await work.providers.is_anothers_contact(username, domain, owner)
