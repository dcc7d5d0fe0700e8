"""Who may look: a password, the sessions that it opens, and how often somebody may guess. No file and no socket."""

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Final

MOST_CHARACTERS: Final = 256

SESSION_SECONDS: Final = 7 * 86_400.0
"""How long one login lasts, as long as the process does."""

GUESSES: Final = 5
GUESS_SECONDS: Final = 12.0
"""So many guesses at once from one address, and then one in so many seconds: 7200 a day."""

GUESSES_OF_ALL: Final = 30
GUESS_OF_ALL_SECONDS: Final = 2.0
"""The same for all addresses together, as who owns many may ask from each."""

MOST_ADDRESSES: Final = 1024

SCRYPT_COST: Final = 1 << 14
"""16 MB and about 50 ms a guess, 200 ms on a Raspberry Pi 4 (RFC 7914 with r = 8, p = 1)."""


class Password:
    """Knows the right one when it comes; what it keeps of it is a scrypt hash with a salt of this process."""

    def __init__(self, right: str) -> None:
        self._salt = secrets.token_bytes(16)
        self._hash = self._hashed(right)

    def fits(self, guess: str) -> bool:
        """Whether it is this one. Takes as long for any guess; call it from a thread that may wait."""
        return hmac.compare_digest(self._hashed(guess), self._hash)

    def _hashed(self, text: str) -> bytes:
        return hashlib.scrypt(text.encode(), salt=self._salt, n=SCRYPT_COST, r=8, p=1)


class Sessions:
    """Tokens that say until when somebody is let in, signed: nothing is kept of them, so nothing fills up.

    They outlive a reload of the daemon, not its process and no change of the password.
    """

    def __init__(self, password: str, now: Callable[[], float] = time.time) -> None:
        self._key = hmac.digest(_process_key(), password.encode(), "sha256")
        self._now = now

    def issue(self) -> str:
        """Return a new token."""
        body = f"{int(self._now() + SESSION_SECONDS):x}.{secrets.token_hex(8)}"
        return f"{body}.{self._signature(body)}"

    def holds(self, token: str) -> bool:
        """Whether a token is one of ours, and still good."""
        body, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(body).encode()):
            return False
        return int(body.split(".")[0], 16) > self._now()

    def _signature(self, body: str) -> str:
        return hmac.digest(self._key, body.encode(), "sha256").hex()


@cache
def _process_key() -> bytes:
    return secrets.token_bytes(32)


class Bucket:
    """So many at once, and then one in so many seconds."""

    def __init__(self, most: int, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._now = most, seconds, now
        self._left, self._since = float(most), now()

    def take(self) -> float:
        """Take one; return 0, or how many seconds to wait until there is one."""
        now = self._now()
        self._left = min(self._most, self._left + (now - self._since) / self._seconds)
        self._since = now
        if self._left < 1:
            return (1 - self._left) * self._seconds
        self._left -= 1
        return 0.0


class Guard:
    """A bucket for each address, and one for all. The addresses that were not seen for longest are forgotten."""

    def __init__(
        self, most: int, seconds: float, of_all: int, of_all_seconds: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._seconds, self._now = most, seconds, now
        self._all = Bucket(of_all, of_all_seconds, now)
        self._known: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, address: str) -> float:
        """Let somebody try; return 0, or how many seconds to wait."""
        whose = _household(address)
        bucket = self._known.pop(whose, None) or Bucket(self._most, self._seconds, self._now)
        self._known[whose] = bucket
        if len(self._known) > MOST_ADDRESSES:
            self._known.popitem(last=False)
        return bucket.take() or self._all.take()


def guesses() -> Guard:
    """Return the guard of the password."""
    return Guard(GUESSES, GUESS_SECONDS, GUESSES_OF_ALL, GUESS_OF_ALL_SECONDS)


def _household(address: str) -> str:
    """Return what one owner has of addresses: of IPv6, whoever has one has the 2^64 beside it."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((known, 64), strict=False)) if known.version == 6 else address
