"""The registration agent: registers at customers' third-party providers."""

from services.appserver.handlers.registrations.agent import Registrations

__all__ = ["Registrations"]
