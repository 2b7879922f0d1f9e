"""The appserver's settings: one frozen dataclass, read from the environment once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from services.appserver.domain.fence import DENY, Fence
from services.appserver.domain.smtp import SmtpServer
from tandem.rpc.security import MIN_KEY
from tandem.runtime.address import HostPort
from tandem.runtime.config import check_otlp_endpoint, load, setting
from tandem.sip.uri import is_host_port

INTERNAL: Final = HostPort("127.0.0.1", 5070)
ALONE: Final = "memory:"
"""The broker of an appserver that runs alone."""
ALGORITHMS: Final = ("MD5", "SHA-256", "SHA-512-256")


@dataclass(frozen=True, slots=True)
class AppServerConfig:
    """Every setting of an appserver. The environment's name is in each field's sentence."""

    node_id: str = "appserver1"
    """TANDEM_NODE_ID: unique among all nodes; bindings and calls name their owner by it."""
    domains: tuple[str, ...] = ()
    """TANDEM_DOMAINS: domains serviced even if provisioning does not list them, default first."""
    local_hosts: tuple[str, ...] = ()
    """TANDEM_LOCAL_HOSTS: addresses that the proxies listen on, `host` or `host:port`; they stand
    for the default domain, since many phones are set up with an address alone."""
    contact_host: str = ""
    """TANDEM_CONTACT_HOST: `host` or `host:port` that leads to the proxies from outside: what
    providers that we register at are given to call in place of the default domain. Empty: the
    domain itself, which they must find by DNS."""
    server_name: str = "Tandem"
    """TANDEM_SERVER_NAME: what Server and User-Agent headers say."""

    internal_listen: HostPort = INTERNAL
    """TANDEM_INTERNAL_LISTEN: where messages from proxies are taken: a numeric address that they
    can reach, never a public one."""
    proxies: tuple[str, ...] = ()
    """TANDEM_PROXIES: addresses or networks (`10.1.0.0/16`) of the proxies; what comes from
    elsewhere over the link is dropped, but for proxies that announce themselves over the broker.
    Empty: loopback and private networks."""
    broker_url: str = field(default=ALONE, repr=False)
    """TANDEM_BROKER_URL: `amqp://user:password@host:port/vhost[,…]`, or `memory:` for an appserver
    that runs alone."""
    directory_url: str = ""
    """TANDEM_DIRECTORY_URL: `HOST:PORT[,HOST:PORT…]`, the gRPC servers of provisioning."""
    accounts_file: Path | None = None
    """TANDEM_ACCOUNTS_FILE: a JSON file of accounts for an appserver that runs without
    provisioning (its form: `adapters/file_directory.py`)."""
    cluster_key: str = field(default="", repr=False)
    """TANDEM_CLUSTER_KEY: the secret that all nodes share, 16 characters at least; needed with a
    broker or a directory."""
    grpc_listen: HostPort | None = None
    """TANDEM_GRPC_LISTEN: where operators' tools control calls; never a public address. Port 0
    takes a free one; empty: none."""
    grpc_cert: Path | None = None
    """TANDEM_GRPC_CERT: PEM file of the node's certificate chain; with it all gRPC is mutual
    TLS."""
    grpc_key: Path | None = None
    """TANDEM_GRPC_KEY: PEM file of its key."""
    grpc_ca: Path | None = None
    """TANDEM_GRPC_CA: PEM file of the authority that all nodes' certificates come from."""
    grpc_name: str = ""
    """TANDEM_GRPC_NAME: a name that the certificates of all nodes carry; empty: each carries the
    host of its gRPC address."""
    http_listen: HostPort | None = None
    """TANDEM_HTTP_LISTEN: health and metrics; port 0 takes a free one; empty: none."""
    otlp_endpoint: str = ""
    """TANDEM_OTLP_ENDPOINT: where OpenTelemetry traces go, `http://HOST:PORT`; empty: none are
    made."""
    weight: int = setting(100, minimum=1, maximum=10_000)
    """TANDEM_WEIGHT: its share of new calls, relative to the other appservers'."""
    drain_seconds: int = 0
    """TANDEM_DRAIN_SECONDS: how long a node that is to stop waits for its calls to end; it takes no
    new ones meanwhile. A second signal ends the wait."""

    min_expires: int = 60
    """TANDEM_MIN_EXPIRES: seconds; a REGISTER that asks for less gets 423."""
    max_expires: int = 3600
    """TANDEM_MAX_EXPIRES: seconds; a REGISTER that asks for more gets this."""
    default_expires: int = 3600
    """TANDEM_DEFAULT_EXPIRES: seconds for a REGISTER that asks for nothing."""
    keepalive_seconds: int = 17
    """TANDEM_KEEPALIVE_SECONDS: between packets to a NATted UDP phone; NATs forget after 30."""

    digest_algorithms: tuple[str, ...] = ("MD5",)
    """TANDEM_DIGEST_ALGORITHMS: one challenge each, in this order, of MD5, SHA-256, SHA-512-256.
    MD5 alone, since phones on older libre (baresip 1) and PJSIP give up when one of several
    challenges is not MD5; put it first where others are added: some phones read only the first."""
    nonce_seconds: int = 300
    """TANDEM_NONCE_SECONDS: how long a nonce serves before a client gets stale=true."""
    nonce_secret: str = ""
    """TANDEM_NONCE_SECRET: shared by all appservers so that each takes the nonces of the others;
    empty: TANDEM_CLUSTER_KEY, and without that a random one for this process. Each appserver
    counts the uses of a nonce by itself: what somebody overheard can be said again to another
    appserver while the nonce is fresh (TANDEM_NONCE_SECONDS), within the same method and URI."""
    forbid_after: int = 3
    """TANDEM_FORBID_AFTER: wrong passwords for one account from one address that are challenged
    again; the next are answered 403."""
    ban_after: int = 10
    """TANDEM_BAN_AFTER: wrong passwords for one account from one address until it is banned."""
    ban_address_after: int = 50
    """TANDEM_BAN_ADDRESS_AFTER: wrong passwords for any accounts until an address is banned."""
    ban_seconds: int = 600
    """TANDEM_BAN_SECONDS: how long a ban lasts, and how long failures are remembered."""

    account_seconds: int = 300
    """TANDEM_ACCOUNT_SECONDS: after this a cached account is asked for again, behind the scenes."""
    account_max_seconds: int = 3600
    """TANDEM_ACCOUNT_MAX_SECONDS: after this an account is asked for before it is used again; if
    nobody answers, the old one serves."""
    missing_seconds: int = 15
    """TANDEM_MISSING_SECONDS: how long it is remembered that an account does not exist."""
    max_accounts: int = 200_000
    """TANDEM_MAX_ACCOUNTS: cached accounts, about 1 kB each; the longest unused gives way."""

    max_calls: int = 5_000
    """TANDEM_MAX_CALLS: calls under way; more get 503. About 12 kB each."""
    max_call_seconds: int = 0
    """TANDEM_MAX_CALL_SECONDS: longest call of anybody after its answer; 0: no limit."""
    ring_seconds: int = 180
    """TANDEM_RING_SECONDS: longest that a call may ring."""
    min_session_seconds: int = 90
    """TANDEM_MIN_SESSION_SECONDS: the least session interval we take (RFC 4028 §4: 90)."""
    probe_seconds: int = 60
    """TANDEM_PROBE_SECONDS: between OPTIONS to each end of a call without a session timer: a phone
    that vanished is noticed after this and 32 s."""

    max_subscriptions: int = 20_000
    """TANDEM_MAX_SUBSCRIPTIONS: subscriptions of phones, about 3 kB each; one more gets 503."""
    max_account_subscriptions: int = 500
    """TANDEM_MAX_ACCOUNT_SUBSCRIPTIONS: of them, those of one account; one more gets 480."""

    max_waits: int = 1_000
    """TANDEM_MAX_WAITS: calls that wait for a provider's callback, each with a hint in every
    proxy."""
    max_customer_waits: int = 100
    """TANDEM_MAX_CUSTOMER_WAITS: of them, those of one customer."""
    trigger_private: bool = False
    """TANDEM_TRIGGER_PRIVATE: whether the HTTP requests that ask providers to call back, and those
    of dialplans, may go to private, loopback and link-local addresses. Who may start callbacks or
    write dialplans could then reach what is inside the network: for providers inside of it, and
    for tests."""

    private_targets: tuple[str, ...] = (DENY,)
    """TANDEM_PRIVATE_TARGETS: whether calls, and registrations at providers, may go to SIP servers
    at private, loopback and link-local addresses: `deny`, `allow`, or the networks that are open
    (`10.1.0.0/16,192.168.7.9`). Who may write dial strings could then reach what is inside the
    network; phones that are registered are called wherever they are."""
    barred_providers: str = ""
    """TANDEM_BARRED_PROVIDERS: a regular expression, as provisioning's; hosts that it matches
    anywhere are not called, by the URI in a dial string or by a provider that was there before."""

    max_dialplans: int = 2_000
    """TANDEM_MAX_DIALPLANS: dialplans that run at once; more calls get 480. About 30 kB each while
    they wait. Each customer has a limit of his own, too."""
    dialplan_workers: int = setting(8, minimum=2, maximum=64)
    """TANDEM_DIALPLAN_WORKERS: processes that Python dialplans compute in, started as they are
    needed; a customer uses two at most."""
    google_voice_url: str = "https://www.google.com"
    """TANDEM_GOOGLE_VOICE_URL: the server that providers of the kind `google-voice` log in at,
    unless they name one."""
    smtp_url: str = field(default="", repr=False)
    """TANDEM_SMTP_URL: the server that mails of dialplans go to,
    `smtp://[USER:PASSWORD@]HOST[:PORT]` or `smtps://…`; empty: none are sent."""
    smtp_from: str = "dialplan@localhost"
    """TANDEM_SMTP_FROM: whom the mails of dialplans are from."""

    def __post_init__(self) -> None:
        check_otlp_endpoint(self.otlp_endpoint)
        _check(self)

    @property
    def has_broker(self) -> bool:
        """Whether there is one beside this process."""
        return self.broker_url != ALONE

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """All addresses that stand for the default domain."""
        return (*self.local_hosts, *filter(None, (self.contact_host,)))

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> AppServerConfig:
        """Read the `TANDEM_*` settings; raises `tandem.runtime.config.ConfigError`, one line."""
        return load(cls, environ)


def _check(config: AppServerConfig) -> None:
    for item in fields(config):
        value = getattr(config, item.name)
        if isinstance(value, int) and value < 0:
            raise ValueError(f"TANDEM_{item.name.upper()}: {value} is below 0")
    if not config.node_id:
        raise ValueError("TANDEM_NODE_ID: must not be empty")
    if (config.has_broker or config.directory_url) and not config.cluster_key:
        raise ValueError("TANDEM_CLUSTER_KEY is not set: all nodes of a cluster share one")
    if config.cluster_key and len(config.cluster_key) < MIN_KEY:
        raise ValueError(f"TANDEM_CLUSTER_KEY is too short: {MIN_KEY} characters at least")
    for network in config.proxies:
        try:
            ip_network(network, strict=False)
        except ValueError:
            raise ValueError(f"TANDEM_PROXIES: {network!r} is no address or network") from None
    if not 0 < config.min_expires <= config.default_expires <= config.max_expires:
        raise ValueError(
            "TANDEM_MIN_EXPIRES, TANDEM_DEFAULT_EXPIRES and TANDEM_MAX_EXPIRES: must grow from 1"
        )
    if config.contact_host and not is_host_port(config.contact_host):
        raise ValueError(f"TANDEM_CONTACT_HOST: {config.contact_host!r} is no host or host:port")
    if config.keepalive_seconds < 1:
        raise ValueError("TANDEM_KEEPALIVE_SECONDS: must be at least 1")
    if config.probe_seconds < 1:
        raise ValueError("TANDEM_PROBE_SECONDS: must be at least 1")
    check_fence(config.private_targets, config.barred_providers)
    check_mail(config.smtp_url, config.smtp_from)
    unknown = set(config.digest_algorithms) - set(ALGORITHMS)
    if unknown or not config.digest_algorithms:
        raise ValueError(f"TANDEM_DIGEST_ALGORITHMS: must be some of {', '.join(ALGORITHMS)}")


def check_fence(private: tuple[str, ...], barred: str = "") -> None:
    """Raises ValueError for networks that are none, and what is no regular expression."""
    try:
        Fence(private)
    except ValueError as error:
        raise ValueError(f"TANDEM_PRIVATE_TARGETS: {error}") from None
    try:
        Fence(barred=barred)
    except ValueError as error:
        raise ValueError(f"TANDEM_BARRED_PROVIDERS: {error}") from None


def check_mail(url: str, sender: str) -> None:
    """Raises ValueError for settings of mails that make no sense."""
    if url:
        try:
            SmtpServer.parse(url)
        except ValueError as error:
            raise ValueError(f"TANDEM_SMTP_URL: {error}") from None
    if sender.count("@") != 1 or not sender.isprintable() or " " in sender:
        raise ValueError("TANDEM_SMTP_FROM: must be an address such as dialplan@example.com")
