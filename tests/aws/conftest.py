"""An AWS environment that holds nothing of the machine's, and a target to open."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from botocore.loaders import create_loader

from provisioner.aws import Limits, connect
from provisioner.config.target import Target
from provisioner.emulator import DEFAULT_ACCOUNT, credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from botocore.loaders import Loader

    from provisioner.aws import Aws

    Open = Callable[..., AbstractAsyncContextManager[Aws]]


def limits_of(**fields: Any) -> Limits:
    """Limits for a test, ``fields`` over them."""
    return Limits(**{"max_connections": 8, "connect_timeout_s": 5.0, "read_timeout_s": 20.0} | fields)


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what a test sets is configured; the static keys are those of AWS's own examples."""
    for name in list(os.environ):
        if name.upper().startswith("AWS_") or name.lower().endswith("_proxy") or name == "REQUESTS_CA_BUNDLE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


@pytest.fixture
def embedded_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded endpoint's credentials, which it checks signatures with."""
    for name, value in credentials(DEFAULT_ACCOUNT).environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def service_models() -> Loader:
    """The SDK's service models, read once for all tests: each session reads its own otherwise."""
    return create_loader()


@pytest.fixture(autouse=True)
def _shared_models(monkeypatch: pytest.MonkeyPatch, service_models: Loader) -> None:
    """Every SDK session uses the same models."""
    monkeypatch.setattr("botocore.session.create_loader", lambda _path: service_models)


@pytest.fixture(params=[True, False], ids=["direct", "sdk"])
def direct(request: pytest.FixtureRequest) -> bool:
    """Which transport sends creates: what a test with this states holds for both."""
    return bool(request.param)


@pytest.fixture
def open_at(*, direct: bool) -> Open:
    """Open a target whose endpoint is the given URL, through the transport under test."""

    @asynccontextmanager
    async def open_url(url: str, target: dict[str, str] | None = None, **limits: Any) -> AsyncIterator[Aws]:
        fields: dict[str, Any] = {"region": "us-east-1", "endpoint_url": url} | (target or {})
        options: dict[str, Any] = {"direct": direct} | limits
        over = options.pop("direct")
        async with connect(Target(**fields), limits_of(**options), direct=over) as aws:
            yield aws

    return open_url
