"""A self-signed certificate for development: https:// on this machine, trusted by nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final

from gatebridge.errors import ConfigError

_VALID: Final = timedelta(days=30)
_ORGANIZATION: Final = "gatebridge, for development"
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


def make_pair(host: str) -> tuple[bytes, bytes]:
    """(certificate, private key), both PEM. raises ConfigError("tls.adhoc")"""
    try:
        from cryptography import x509  # type: ignore[import-not-found,unused-ignore]
        from cryptography.hazmat.primitives import (  # type: ignore[import-not-found,unused-ignore]
            hashes,
            serialization,
        )
        from cryptography.hazmat.primitives.asymmetric import (  # type: ignore[import-not-found,unused-ignore]
            ec,
        )
    except ImportError as error:
        why = f"a certificate of its own needs cryptography: {error}"
        raise ConfigError("tls.adhoc", f"{why}; pip install cryptography, or name files") from None
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, _ORGANIZATION)])
    names = dict.fromkeys([*_LOCAL, *([host] if host else [])])
    also: list[x509.GeneralName] = [
        x509.IPAddress(ip_address(one)) if _is_address(one) else x509.DNSName(one) for one in names
    ]
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # a clock may be a little behind
        .not_valid_after(now + _VALID)
        .add_extension(x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(also), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return cert.public_bytes(serialization.Encoding.PEM), secret


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
