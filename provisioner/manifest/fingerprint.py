"""What a manifest says, in one digest: its rules, the labels of its sources and all their bytes as they lie on disk."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from provisioner import __version__

if TYPE_CHECKING:
    from provisioner.manifest.definition import Rules


class Fingerprint:
    """Takes in a manifest while it is read.

    The digest of the bytes that were read, not of the file, so that a file that changes meanwhile cannot deceive it.
    The version counts too: another one may judge the same line differently.
    """

    def __init__(self, rules: Rules) -> None:
        said = [__version__, rules.ownership_tag, dict(rules.defaults)]
        self._digest = sha256(msgspec.json.encode(said, order="sorted"))
        self._size = 0

    def begin(self, label: str) -> None:
        """The next bytes are of the source called ``label``."""
        self._digest.update(f"\0{self._size}\0{label}\0".encode(errors="surrogateescape"))
        self._size = 0

    def update(self, chunk: bytes) -> None:
        """The next bytes."""
        self._digest.update(chunk)
        self._size += len(chunk)

    def hexdigest(self) -> str:
        """Of everything so far."""
        end = self._digest.copy()
        end.update(f"\0{self._size}".encode())
        return end.hexdigest()
