"""Who we are to the broker, and whom we trust: the password, the certificates; and what is wrong with them, in words.

No state: the files are read anew at each call, so that a renewed certificate needs no restart.
"""

import ssl
from pathlib import Path
from typing import Final

from edge.config import MqttSettings, TlsSettings, secret_path
from edge.errors import ConfigError, EarshotError
from edge.files import read_plain

MOST_BYTES: Final = 4 << 20
"""Of a password or a certificate: all the authorities that a Debian trusts are 220 kB."""

CERTIFICATE_NOT_YET_VALID: Final = 9
"""X509_V_ERR_CERT_NOT_YET_VALID. A device whose clock has no battery starts in the past; it passes by itself."""


def password_in(file: Path, section: str = "mqtt") -> str | None:
    """Return the password that `file` holds (edge.config.settings.secret_path), None if it is empty.

    section: of the configuration, for who has to mend it.
    """
    try:
        return read_plain(secret_path(file), MOST_BYTES).decode("utf-8").rstrip("\r\n") or None
    except ConfigError as error:
        raise EarshotError(f"{section}.password_file {error}") from error
    except UnicodeDecodeError:  # its text shows what it could not read
        raise EarshotError(f"{section}.password_file {file}: expected UTF-8") from None
    except OSError as error:
        raise EarshotError(f"{section}.password_file {file}: {in_words(error)}") from error


def tls_context(tls: TlsSettings, section: str = "mqtt.tls") -> ssl.SSLContext:
    """Return a context that asks the server for a certificate and a host name that fits. ssl names no files; we do."""
    try:
        context = ssl.create_default_context(cafile=None if tls.ca_file is None else _plain(tls.ca_file))
    except ConfigError as error:
        raise EarshotError(f"{section}.ca_file {error}") from error
    except OSError as error:
        raise EarshotError(f"{section}.ca_file {tls.ca_file}: {in_words(error)}") from error
    if tls.ca_file is not None:
        # > Changed in version 3.13: the context now uses VERIFY_X509_PARTIAL_CHAIN and VERIFY_X509_STRICT in its
        # > default verify flags. https://docs.python.org/3/library/ssl.html#ssl.create_default_context
        # An authority that somebody made for his own house with `openssl req -x509` has no keyUsage, and is refused by
        # the strict rules of RFC 5280 (python/cpython#138193). Whoever names it vouches for it.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if tls.certificate_file is not None and tls.key_file is not None:
        try:
            # An empty passphrase: without one, OpenSSL would ask for it on a terminal that nobody sits at.
            context.load_cert_chain(_plain(tls.certificate_file), _plain(tls.key_file), password="")
        except ConfigError as error:
            raise EarshotError(f"{section}.certificate_file or key_file {error}") from error
        except OSError as error:
            files = f"{section}.certificate_file {tls.certificate_file}, key_file {tls.key_file}"
            raise EarshotError(f"{files}: {in_words(error)}") from error
    return context


def check_credentials(mqtt: MqttSettings) -> None:
    """Raise EarshotError for a password, an authority or a certificate that cannot be read now."""
    if mqtt.password_file is not None:
        password_in(mqtt.password_file)
    if mqtt.tls.enabled:
        tls_context(mqtt.tls)


def _plain(file: Path) -> Path:
    """Return where a certificate or a key lies: OpenSSL opens it by its name, and waits for ever at a pipe."""
    path = secret_path(file)
    read_plain(path, MOST_BYTES)
    return path


def in_words(error: Exception) -> str:
    """Return the part of an error that a person can use: no numbers, no line of C source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "; is the clock of this device set yet?" if error.verify_code == CERTIFICATE_NOT_YET_VALID else ""
        return f"TLS: the broker's certificate was refused: {error.verify_message}{hint}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
