"""One digest of a whole manifest: its rules, the labels of its sources and all their bytes as they lie on disk."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from provisioner import __version__

if TYPE_CHECKING:
    from provisioner.manifest.parser import Rules


class Fingerprint:
    """The fingerprint of a manifest, computed while it is read.

    It covers the bytes that were read, not the file, so that a file that changes meanwhile has another fingerprint. It
    covers the program's version too: another version may read the same line differently.

    Attributes:
        mark: what the choice of lines depends on besides; "" where no line names its targets.
    """

    def __init__(self, rules: Rules) -> None:
        rules_read = [__version__, rules.ownership_tag, dict(rules.defaults)]
        rules_read += [rules.variables] if rules.variables is not None else []
        self._digest = sha256(msgspec.json.encode(rules_read, order="sorted"))
        self._size = 0
        self.mark = ""

    def begin(self, label: str) -> None:
        """The next bytes belong to the source ``label``."""
        self._digest.update(f"\0{self._size}\0{label}\0".encode(errors="surrogateescape"))
        self._size = 0

    def update(self, chunk: bytes) -> None:
        """Add the next bytes."""
        self._digest.update(chunk)
        self._size += len(chunk)

    def follow(self, other: Fingerprint) -> None:
        """Be what ``other`` is: the same bytes were read."""
        self._digest, self._size = other._digest.copy(), other._size

    def hexdigest(self) -> str:
        """The fingerprint of everything so far."""
        end = self._digest.copy()
        end.update(f"\0{self._size}".encode())
        return marked(end.hexdigest(), self.mark)


def marked(fingerprint: str, mark: str) -> str:
    """``fingerprint`` of a manifest whose choice of lines depends on what ``mark`` is a digest of; "" for nothing."""
    return sha256(f"{fingerprint} {mark}".encode()).hexdigest() if mark else fingerprint
