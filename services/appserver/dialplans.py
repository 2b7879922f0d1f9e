"""Puts the engine that runs dialplans together, for `app.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.appserver.adapters.mailer import SmtpMailer
from services.appserver.adapters.web import HttpxWeb
from services.appserver.config import AppServerConfig
from services.appserver.domain.routing import to_self
from services.appserver.domain.smtp import SmtpServer
from services.appserver.handlers.callbacks import Callbacks
from services.appserver.handlers.calls import Calls as B2bua
from services.appserver.handlers.dialplans.dialer import Dialer
from services.appserver.handlers.dialplans.engine import Engine
from services.appserver.handlers.dialplans.lookups import Lookups
from services.appserver.handlers.dialplans.resolve import Resolver as LegResolver
from services.appserver.handlers.dialplans.services import MailQuota, Services
from services.appserver.handlers.outside import Outside
from services.appserver.handlers.tools import Tools
from services.appserver.handlers.transfers import DialplanTransfers
from services.appserver.ports import Calls, Mailer, Resolver, Signals, Web
from tandem.dialplan.linerunner import LineRunner
from tandem.dialplan.monty import MontyRunner
from tandem.dialplan.ruby import RubyRunner
from tandem.dialplan.script import Language, Runner


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a switch of one's own may bring along; None: the usual one."""

    web: Web | None = None
    mailer: Mailer | None = None
    runners: Mapping[Language, Runner] | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """What of the appserver the engine works with."""

    calls: Calls
    callbacks: Callbacks
    signals: Signals
    ways: Outside
    resolver: Resolver
    arm: Callable[[], None]
    """Has deadlines met that were added from outside of the path of messages."""


def make_engine(tools: Tools, used: Used, parts: Parts) -> Engine | None:
    """The engine; None with calls that nobody can steer (of a test)."""
    calls = used.calls
    if not isinstance(calls, B2bua):
        return None
    config = tools.config
    programs = tools.programs
    lookups = Lookups(tools.accounts, used.ways, programs.providers, tools.clock)
    services = Services(
        tools=tools,
        calls=calls,
        steering=calls,
        moves=calls,
        lookups=lookups,
        dialer=Dialer(LegResolver(tools, lookups, to_self), tools.publisher),
        programs=programs,
        callbacks=used.callbacks,
        web=parts.web or HttpxWeb(private=config.trigger_private),
        resolver=used.resolver,
        arm=used.arm,
        mailer=parts.mailer or _mailer(config),
        signals=used.signals,
        quota=MailQuota(tools.clock),
    )
    return Engine(services, parts.runners or _runners(config), programs.dialplan)


def make_transfers(
    engine: Engine | None, calls: Calls, draining: Callable[[], bool]
) -> DialplanTransfers | None:
    """What is asked of calls from outside; None without dialplans."""
    if engine is None or not isinstance(calls, B2bua):
        return None
    return DialplanTransfers(engine.services, engine, calls, draining)


def _mailer(config: AppServerConfig) -> Mailer | None:
    if not config.smtp_url:
        return None
    return SmtpMailer(SmtpServer.parse(config.smtp_url), config.smtp_from)


def _runners(config: AppServerConfig) -> dict[Language, Runner]:
    """Those are started when the first dialplan of their language is run."""
    return {
        Language.PYTHON: MontyRunner(config.dialplan_workers),
        Language.LINES: LineRunner(),
        Language.RUBY: RubyRunner(),
    }
