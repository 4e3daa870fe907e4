"""The TLS context of the backends that use Python's."""

from __future__ import annotations

import ssl

from fetcher.errors import ConfigError
from fetcher.ports import ConnectionOptions


def tls_context(options: ConnectionOptions) -> ssl.SSLContext:
    """Make the context of a run's https connections. Raises `ConfigError` if a file of it can't be used."""
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        if options.client_cert:
            context.load_cert_chain(options.client_cert)
    except OSError as cause:  # SSLError too
        files = " or ".join(name for name in (options.ca_file, options.client_cert) if name)
        raise ConfigError(f"cannot use {files}: {cause.strerror or cause}") from cause
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
