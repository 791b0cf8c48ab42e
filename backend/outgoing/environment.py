"""What this machine's settings say about outgoing calls: its proxies, and whose certificates are trusted."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests.utils

from outgoing.failures import CallImpossible

_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


def proxy_for(url: str) -> str | None:
    """The proxy that HTTP_PROXY and its kin name for `url`, read as requests reads them.

    Raises:
        CallImpossible: it cannot be used. Its URL, which may hold a password, is in no message.
    """
    try:
        proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url, no_proxy=None))
        if not proxy:
            return None
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        parts = urlsplit(proxy)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise CallImpossible("the proxy named in the environment is not a URL") from None
    if parts.scheme not in {"http", "https"}:
        raise CallImpossible(f"a proxy of the kind {parts.scheme[:20]!r} is not supported: http and https are")
    return proxy


def proxy_credentials(proxy: str) -> str | None:
    """name:password, for the proxy's header; None where its URL has none."""
    parts = urlsplit(proxy)
    return None if parts.username is None else f"{unquote(parts.username)}:{unquote(parts.password or '')}"


def trusted_certificates() -> str:
    """The file or folder with the certificates to trust."""
    named = next(filter(None, map(os.environ.get, _CERTIFICATES)), None)
    return named or requests.utils.DEFAULT_CA_BUNDLE_PATH


@lru_cache(maxsize=4)
def tls_trusting(certificates: str) -> ssl.SSLContext:
    """TLS that trusts the certificates of a file or folder. Reading them takes some ten milliseconds.

    Raises:
        CallImpossible: they cannot be read, or are none.
    """
    try:
        if Path(certificates).is_dir():
            return ssl.create_default_context(capath=certificates)
        return ssl.create_default_context(cafile=certificates)
    except (OSError, ValueError) as error:
        raise CallImpossible(f"the certificates in {certificates} cannot be read: {error}") from error
