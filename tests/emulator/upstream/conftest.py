"""Lets the installed moto answer for the service as if it were a part of it; moto's own tests need no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest
from moto.core.config import default_user_config

from provisioner.emulator.moto import register

if TYPE_CHECKING:
    from collections.abc import Iterator

register()


@pytest.fixture(scope="package", autouse=True)
def _one_session() -> Iterator[None]:
    """One session of boto3 for all tests, as moto's own have it: each new one reads the service model again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        patch.setitem(default_user_config["core"], "reset_boto3_session", value=False)
        yield
