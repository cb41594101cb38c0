"""The edge's certificate: TLS 1.3 and nothing older."""

from __future__ import annotations

import ssl

from portico.errors import Misconfigured
from portico.settings.settings import TlsSettings


def server_context(tls: TlsSettings) -> ssl.SSLContext | None:
    """Nothing where no certificate is configured. Raises `Misconfigured` for one that cannot be used."""
    if tls.certificate is None or tls.key is None:
        return None
    for path in (tls.certificate, tls.key):
        try:
            path.read_bytes()
        except OSError as error:
            raise Misconfigured(f"tls: {path} cannot be read ({error.strerror})") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (ssl.SSLError, OSError):
        raise Misconfigured(
            f"tls: {tls.certificate} and {tls.key} are not a PEM certificate chain and its key"
        ) from None
    return context
