"""For all tests of the command: the endpoint that it is run against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.process import Endpoint, emulate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    """An endpoint of its own for each test."""
    with emulate(tmp_path) as running:
        yield running
