"""Which tags of an algorithm may be removed: one rule for what is removed, shown and reported. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.core.ownership import read_tag

if TYPE_CHECKING:
    from provisioner.core.entry import Entry
    from provisioner.core.policy import Policy


def keys_set(entry: Entry) -> set[str]:
    """The keys of the tags that this ledger set."""
    return set(entry.tag_keys.split(",")) - {""}


def removable(key: str, value: str) -> bool:
    """Whether a tag can be removed at all: not if AWS sets it, or if it says which ledger made the algorithm."""
    return not key.lower().startswith("aws:") and read_tag(value) is None


def may_remove(key: str, value: str, entry: Entry, policy: Policy) -> bool:
    """Whether a tag that the manifest does not name is removed: if this ledger set it, or all tags are its own."""
    if key == policy.ownership_tag or not removable(key, value):
        return False
    return policy.own_tags or key in keys_set(entry)
