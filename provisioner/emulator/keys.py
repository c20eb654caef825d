"""Access keys and session tokens. None of them is a secret, and the endpoint remembers none of them.

A key id contains its account, as the key ids of AWS do; all long-lived keys share one public secret. A session token
carries its own facts under a seal, so it stays valid when the endpoint restarts.
"""

from __future__ import annotations

import base64
import hmac
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

import msgspec

DEFAULT_ACCOUNT = "123456789012"

LONG_LIVED, TEMPORARY = "AKIA", "ASIA"
"""The prefixes of access key ids (IAM User Guide, "Unique identifiers")."""

SECRET = "the-embedded-endpoint-has-no-secrets"  # noqa: S105 - public on purpose, accepted nowhere else

_REST = b"EMBD"
"""The last bytes of a long-lived key id, which distinguish it from the keys of real users."""

_SEAL_SIZE = 16


class Credentials(NamedTuple):
    """What a client signs with. ``session_token`` is empty for long-lived keys."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""
    expires_at: float = 0.0

    def environment(self) -> dict[str, str]:
        """The environment variables from which every AWS SDK reads these credentials."""
        variables = {"AWS_ACCESS_KEY_ID": self.access_key_id, "AWS_SECRET_ACCESS_KEY": self.secret_access_key}
        return {**variables, "AWS_SESSION_TOKEN": self.session_token} if self.session_token else variables


class Session(msgspec.Struct, frozen=True, array_like=True):
    """The content of a session token. Times are seconds since the epoch."""

    access_key_id: str
    role_arn: str
    name: str
    issued_at: float
    expires_at: float


def credentials(account_id: str = DEFAULT_ACCOUNT) -> Credentials:
    """The long-lived credentials of an account; every account of twelve digits exists."""
    return Credentials(_key_id(LONG_LIVED, account_id, _REST), SECRET)


def issue(role_arn: str, name: str, issued_at: float, lifetime: float) -> Credentials:
    """Credentials of an assumed role for ``lifetime`` seconds, as AssumeRole returns them."""
    seed = sha256(f"{role_arn}\n{name}\n{issued_at!r}".encode()).digest()
    key_id = _key_id(TEMPORARY, role_arn.split(":")[4], seed[:4])
    payload = msgspec.json.encode(Session(key_id, role_arn, name, issued_at, issued_at + lifetime))
    token = base64.b64encode(payload + _seal(payload)).decode()
    return Credentials(key_id, _session_secret(key_id), token, issued_at + lifetime)


@lru_cache(maxsize=1024)
def account_of(access_key_id: str) -> str:
    """The account of a long-lived key, "" for a key that this endpoint did not make."""
    try:
        content = base64.b32decode(access_key_id.removeprefix(LONG_LIVED))
    except ValueError:
        return ""
    account_id = f"{int.from_bytes(content[:6], 'big') >> 7 & (1 << 40) - 1:012d}"
    return account_id if access_key_id == _key_id(LONG_LIVED, account_id, _REST) else ""


def secret_of(access_key_id: str) -> str:
    """The secret that belongs to a key id."""
    return SECRET if account_of(access_key_id) else _session_secret(access_key_id)


def open_token(token: str, access_key_id: str) -> Session | None:
    """The content of a session token, None when it is forged, damaged, or was issued with another key."""
    try:
        raw = base64.b64decode(token, validate=True)
        payload, seal = raw[:-_SEAL_SIZE], raw[-_SEAL_SIZE:]
        session = msgspec.json.decode(payload, type=Session)
    except (ValueError, msgspec.DecodeError):
        return None
    genuine = hmac.compare_digest(seal, _seal(payload)) and session.access_key_id == access_key_id
    return session if genuine else None


def _key_id(prefix: str, account_id: str, rest: bytes) -> str:
    """A key id in the form that AWS uses: base 32 of a one bit, the account in 40 bits, and the rest."""
    return prefix + base64.b32encode((1 << 47 | int(account_id) << 7).to_bytes(6, "big") + rest).decode()


def _session_secret(access_key_id: str) -> str:
    return base64.b64encode(hmac.digest(SECRET.encode(), access_key_id.encode(), "sha256")).decode()[:40]


def _seal(payload: bytes) -> bytes:
    return hmac.digest(SECRET.encode(), payload, "sha256")[:_SEAL_SIZE]
