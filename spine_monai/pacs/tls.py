"""TLS between DICOM nodes: both show a certificate, and name who must have signed the other's."""

import ssl
import stat
from pathlib import Path

from spine_monai.pacs.config import Tls


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return how we call: the other side's certificate must be signed, and name the host we call.

    Raises:
        ValueError: a file is no certificate or key, or others may read the key.
    """
    return _context(tls, ssl.PROTOCOL_TLS_CLIENT)


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return how we answer: who calls must show a certificate that the authority signed.

    Raises:
        ValueError: a file is no certificate or key, or others may read the key.
    """
    context = _context(tls, ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def check_key(key: Path) -> None:
    """Refuse a private key that others than its owner may read.

    Raises:
        ValueError: they may.
    """
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & 0o077:
        msg = f"the key {key} must be readable by its owner alone: expected mode 600, got {mode:o}."
        msg += " Run `chmod 600` on it."
        raise ValueError(msg)


def check_authority(authority: Path) -> None:
    """Refuse a file that holds no certificate.

    Raises:
        ValueError: it holds none.
    """
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), authority)


def check_pair(certificate: Path, key: Path) -> None:
    """Refuse a certificate and a key that do not belong together, or a key that is not private.

    Raises:
        ValueError: so it is.
    """
    check_key(key)
    _show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate, key)


def _context(tls: Tls, protocol: int) -> ssl.SSLContext:
    check_key(tls.key)
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _trust(context, tls.authority)
    _show(context, tls.certificate, tls.key)
    return context


def _trust(context: ssl.SSLContext, authority: Path) -> None:
    try:
        context.load_verify_locations(cafile=authority)
    except ssl.SSLError as error:
        msg = f"the authority {authority} must be a PEM file of certificates: {error.reason}."
        raise ValueError(msg) from None


def _show(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        msg = f"the certificate {certificate} and the key {key} must be PEM files that belong "
        msg += f"together, without a password: {error.reason or 'they cannot be read'}."
        raise ValueError(msg) from None
