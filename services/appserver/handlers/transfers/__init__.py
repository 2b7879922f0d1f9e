"""What is asked of calls from outside of SIP, and the REFERs that the switch does."""

from services.appserver.handlers.transfers.transfers import DialplanTransfers

__all__ = ["DialplanTransfers"]
