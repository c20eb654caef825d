"""What a manifest asks for, as far as a decision needs it."""

from __future__ import annotations

from typing import Protocol


class Wanted(Protocol):
    """A definition that a manifest asks for, or the entry of one."""

    @property
    def name(self) -> str:
        """The algorithm's name."""

    @property
    def digest(self) -> str:
        """Of the definition without its tags (hex)."""

    @property
    def tags_digest(self) -> str:
        """Of its tags (hex)."""

    @property
    def tag_keys(self) -> str:
        """Their keys, sorted, comma-separated."""
