"""TLS: contexts from files, and a codec that puts TLS under another codec (RFC 3261 §26.2.1).

TLS runs on memory BIOs inside of the connection, not in asyncio's TLS transport. So a peer in
mid-handshake is an ordinary connection: it counts against every limit and has its deadline in
the one sweep, and no task or timer of its own.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from tandem.siptransport.codec import Cause, Codec, End, Received

_RECORD: Final = 16_384  # bytes of plain text that one TLS record holds at most


class TlsFileError(Exception):
    """A certificate or key cannot be used; the text is one line that names the file."""


def server_context(
    certificate: str | Path, key: str | Path, client_ca: str | Path | None = None
) -> ssl.SSLContext:
    """A context for listeners from PEM files (the certificate with its chain). With `client_ca`
    clients must show a certificate that it signed. Raises TlsFileError."""
    context = _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    _load_pair(context, certificate, key)
    if client_ca is not None:
        _load_ca(context, client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    ca: str | Path | None = None,
    certificate: str | Path | None = None,
    key: str | Path | None = None,
) -> ssl.SSLContext:
    """A context for outgoing connections that checks the peer's certificate and name (RFC 5922)
    against `ca` or the system's authorities. Raises TlsFileError."""
    context = _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    if ca is None:
        context.load_default_certs()
    else:
        _load_ca(context, ca)
    if certificate is not None:
        _load_pair(context, certificate, key or certificate)
    return context


def _hardened(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A peer that renegotiates makes us compute for nothing, and stalls writes
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


def _load_pair(context: ssl.SSLContext, certificate: str | Path, key: str | Path) -> None:
    for path in (certificate, key):
        if not Path(path).is_file():
            raise TlsFileError(f"TLS: no such file: {path}")
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        text = f"TLS: {certificate} and {key} are no certificate and its key: {error}"
        raise TlsFileError(text) from error


def _load_ca(context: ssl.SSLContext, ca: str | Path) -> None:
    try:
        context.load_verify_locations(ca)
    except (OSError, ValueError) as error:
        raise TlsFileError(f"TLS: {ca} holds no certificates: {error}") from error


class TlsCodec:
    """TLS under `inner`, as the server or, with `server_name`, as the client."""

    __slots__ = ("_incoming", "_inner", "_outgoing", "_shaken", "_tls", "ready")

    def __init__(
        self,
        inner: Codec,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_name: str | None = None,
    ) -> None:
        """Raises ValueError or OSError for a `server_name` that no certificate can be for."""
        self.ready = False
        self._inner = inner
        self._shaken = False
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        if server_name is not None and "\0" in server_name:
            raise ValueError("NUL in a server's name")  # ssl would say TypeError
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name
        )

    @property
    def partial(self) -> bool:
        """See Codec."""
        return self._inner.partial

    def start(self) -> bytes:
        """The client's hello; nothing on the server's side."""
        self._handshake()
        return self._outgoing.read()

    def receive(self, data: bytes) -> Received:
        """See Codec."""
        received = Received()
        self._incoming.write(data)
        try:
            if self._shaken or self._handshake():
                self._read(received)
        except ssl.SSLError as error:
            received.end = self._failure(error)
        received.reply = self._outgoing.read()
        self.ready = self._shaken and self._inner.ready
        return received

    def _handshake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self._shaken = True
        self._write(self._inner.start())
        return True

    def _read(self, received: Received) -> None:
        while received.end is None:
            try:
                data = self._tls.read(_RECORD)
            except ssl.SSLWantReadError:
                return
            if not data:
                received.end = End("closed by peer")
                return
            self._pass_on(self._inner.receive(data), received)

    def _pass_on(self, part: Received, received: Received) -> None:
        received.messages += part.messages
        received.keepalives += part.keepalives
        received.end = part.end
        self._write(part.reply)

    def _failure(self, error: ssl.SSLError) -> End:
        text = getattr(error, "verify_message", None) or error.reason or str(error)
        if self._shaken:
            return End(f"TLS failed: {text}", Cause.BAD_FRAMING)
        return End(f"TLS handshake failed: {text}", Cause.HANDSHAKE_FAILED)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]

    def encode(self, message: bytes) -> bytes:
        """See Codec."""
        self._write(self._inner.encode(message))
        return self._outgoing.read()

    def keepalive(self) -> bytes:
        """See Codec."""
        self._write(self._inner.keepalive())
        return self._outgoing.read()

    def farewell(self) -> bytes:
        """The inner codec's, then TLS' close_notify."""
        if not self._shaken:
            return self._outgoing.read()
        try:
            self._write(self._inner.farewell())
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the peer's close_notify is not waited for
        return self._outgoing.read()
