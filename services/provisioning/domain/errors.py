"""What can be wrong with a request.

    ProvisioningError
    ├── Invalid            a value that breaks a rule; names the fields
    │   └── WrongSource     a dialplan with faults; names their places
    ├── Conflict           somebody else has it already, or it is still in use; names the field
    ├── NotFound           there is none that the caller may see
    ├── Forbidden          the caller may see it but not do that
    ├── WrongCredentials   user name or password, we don't say which
    ├── TooManyLogins      come back later
    ├── Unanswered         the nodes that would know or obey are silent
    └── DatabaseProblem    the database can't be used at all: for the operator, at the start

A database that is away for a while is `tandem.rpc.directory.DirectoryUnavailable`.
"""

from __future__ import annotations

from collections.abc import Sequence

from tandem.dialplan.script import Problem


class ProvisioningError(Exception):
    """Whatever is answered with a problem document."""

    def __init__(self, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


class Invalid(ProvisioningError):
    """One or more values break a rule."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors), errors[0][0])
        self.errors = tuple(errors)


class WrongSource(Invalid):
    """A dialplan that can't be what its author wants."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__([("source", str(problem)) for problem in problems])
        self.problems = tuple(problems)


class Conflict(ProvisioningError):
    """It clashes with what is stored."""


class NotFound(ProvisioningError):
    """There is none that the caller may see: another's is told apart from nothing by nobody."""


class Forbidden(ProvisioningError):
    """Not for this caller."""


class WrongCredentials(ProvisioningError):
    """A login that failed."""


class TooManyLogins(ProvisioningError):
    """A login that was not even looked at."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many failed logins; try again in {seconds} s.")
        self.seconds = seconds


class DatabaseProblem(ProvisioningError):
    """One line for the operator: what is wrong with the database and what to do."""


class Unanswered(ProvisioningError):
    """Nodes that were asked do not answer, and perhaps did what they were asked."""


def invalid(field: str, detail: str) -> Invalid:
    """An `Invalid` about one field."""
    return Invalid([(field, detail)])
