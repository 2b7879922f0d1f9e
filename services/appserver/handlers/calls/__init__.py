"""The back-to-back user agent."""

from services.appserver.handlers.calls.calls import Calls
from services.appserver.handlers.calls.limits import CallLimits

__all__ = ["CallLimits", "Calls"]
