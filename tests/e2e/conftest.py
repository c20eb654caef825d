"""For all tests of the command: the endpoint that it is run against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.emulator import running
from tests.e2e.process import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An endpoint of its own for each test; in a thread, because a process would take longer to start than to use."""
    with running() as emulator:
        yield Endpoint(emulator.url)
