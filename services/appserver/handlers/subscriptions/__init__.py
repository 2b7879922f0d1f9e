"""Subscriptions of phones: who may have one, and what they are told (RFC 6665)."""

from services.appserver.handlers.subscriptions.service import Subscriptions

__all__ = ["Subscriptions"]
