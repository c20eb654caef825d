"""The documented rules of tags, beyond those in the service model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from unicodedata import category

from provisioner.emulator.wire import validation_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

MAX_USER_TAGS = 50
"""Tags per resource, from the service's documentation; the model's 200 is never reached."""


def check_tags(tags: Mapping[str, str], present: Collection[str] = ()) -> None:
    """Checks tags that are added to the keys that are present, of which those of AWS do not count.

    Raises:
        ApiError: 400 for too many tags, a reserved key, or a character that tags may not have.
    """
    problems = reserved_keys(tags)
    problems += [
        f"Value '{text}' at 'tags' failed to satisfy constraint: Tags hold letters, digits, spaces and +-=._:/@"
        for pair in tags.items()
        for text in pair
        if not _is_tag_text(text)
    ]
    if len({*tags, *present}) - len(reserved_keys(present)) > MAX_USER_TAGS:
        problems.append(f"Value at 'tags' failed to satisfy constraint: A resource has at most {MAX_USER_TAGS} tags")
    if problems:
        raise validation_error(*problems)


def reserved_keys(keys: Iterable[str]) -> list[str]:
    """One problem for each key with the prefix that AWS keeps for itself."""
    constraint = "failed to satisfy constraint: Tag keys must not begin with aws:"
    return [f"Value '{key}' at 'tags' {constraint}" for key in keys if key[:4].lower() == "aws:"]


_PLAIN_TAG_TEXT = re.compile(r"[A-Za-z0-9 +\-=._:/@]*").fullmatch


def _is_tag_text(text: str) -> bool:
    if _PLAIN_TAG_TEXT(text):
        return True
    return all(category(c)[0] in "LNZ" or _PLAIN_TAG_TEXT(c) for c in text)
