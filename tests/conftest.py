"""For all tests: hypothesis draws the same examples in every run, so that a red suite is red again."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")
