"""What a test needs and this machine does not have."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """End a test whose tool is not installed here: it is skipped, as the run says at its end, but fails in CI.

    Args:
        what: that is missing, and how to get it.
    """
    text = f"NOT TESTED: {what}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)
