"""Merges the tables of defaults under what is given; the default values themselves are in settings.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid on ``under``: maps merge, everything else in ``over`` replaces."""
    merged = {**under, **over}
    for key, below in under.items():
        above = merged[key]
        if above is not below and isinstance(above, dict) and isinstance(below, dict):
            merged[key] = merge(below, above)
    return merged
