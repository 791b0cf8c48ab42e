"""Our own keys: `pyl_<12 of id>_<43 of secret><6 of checksum>`, letters and digits throughout.

The id is no secret: it names the key in lists and logs. The secret is 256 random bits, so a plain SHA-256 of the
whole key may be stored: there is nothing to guess. The checksum lets a mistyped or made-up key be refused without a
query, and lets scanners of source code tell a real one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

PREFIX = "pyl_"
ID_LENGTH = 12
SECRET_BYTES = 32
SECRET_LENGTH = 43  # 62**43 > 2**256
CHECKSUM_LENGTH = 6  # 62**6 > 2**32

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORM = re.compile(
    rf"{PREFIX}([0-9A-Za-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
)


class NotAKey(ValueError):
    """The text is no key of ours; it was mistyped, cut or made up."""


@dataclass(frozen=True)
class Key:
    """A key as its holder has it. Its text is in no `repr`, so in no traceback."""

    key_id: str
    text: str = field(repr=False)

    @property
    def digest(self) -> bytes:
        """What is stored of it: 32 bytes."""
        return hashlib.sha256(self.text.encode("ascii")).digest()

    def is_the_one_of(self, stored_digest: bytes) -> bool:
        """Whether the stored digest is this key's, in a time that tells nothing."""
        return hmac.compare_digest(self.digest, stored_digest)


def mint_key(key_id: str | None = None) -> Key:
    """A new key, of the system's own randomness; its id too, where none is given."""
    if key_id is None:
        key_id = "".join(secrets.choice(_DIGITS) for _ in range(ID_LENGTH))
    secret = _base62(int.from_bytes(secrets.token_bytes(SECRET_BYTES), "big"), SECRET_LENGTH)
    body = f"{PREFIX}{key_id}_{secret}"
    return Key(key_id, body + _checksum(body))


def read_key(text: str) -> Key:
    """The key that a text is.

    Raises:
        NotAKey: it has another form, or a wrong checksum.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise NotAKey("this is not a whole key")
    if not hmac.compare_digest(_checksum(text[:-CHECKSUM_LENGTH]), found[3]):
        raise NotAKey("this key is mistyped: its checksum is wrong")
    return Key(found[1], text)


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
