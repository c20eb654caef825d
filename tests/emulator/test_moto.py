"""Clean Rooms ML among moto's services: where, and what to install. What it does is tested in ``upstream``."""

from __future__ import annotations

import re
import runpy
import sys

import boto3
import pytest
from moto import mock_aws
from moto.backends import get_backend

from provisioner.emulator.moto import register
from tests.emulator.support import ONE_ATTEMPT, ROLE

REGIONS = {
    *("us-east-1", "us-east-2", "us-west-2", "ap-northeast-1", "ap-northeast-2", "ap-southeast-1", "ap-southeast-2"),
    *("eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2"),
}
"""Where AWS has Clean Rooms ML."""

INSTALL = "pip install 'cleanrooms-provisioner[moto]'"


def test_the_regions_are_awss() -> None:
    """The service is in the Regions where AWS has it, and in others if moto is told so."""
    register()

    backends = get_backend("cleanroomsml")["123456789012"]  # type: ignore[call-overload]  # not in moto's own list
    assert set(backends.regions) == REGIONS
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        cleanrooms = boto3.client("cleanroomsml", region_name="us-gov-west-1", config=ONE_ATTEMPT)
        with pytest.raises(KeyError, match="us-gov-west-1"):
            cleanrooms.list_configured_model_algorithms()
        patch.setenv("MOTO_ALLOW_NONEXISTENT_REGION", "true")
        made = cleanrooms.create_configured_model_algorithm(name="a", roleArn=ROLE)
        assert made["configuredModelAlgorithmArn"].startswith("arn:aws-us-gov:cleanrooms-ml:us-gov-west-1:")


def test_without_moto_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where moto is not installed, registering names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "moto", None)

    with pytest.raises(ImportError, match=re.escape(INSTALL)):
        register()


@pytest.mark.parametrize(("missing", "code"), [("", "0"), ("moto", INSTALL), ("moto.server", INSTALL)])
def test_motos_server_as_a_command(
    missing: str, code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``python -m provisioner.emulator.moto`` takes the options of moto_server; without it, it names the extra."""
    monkeypatch.setattr(sys, "argv", ["moto_server", "--help"])
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as end:
        runpy.run_module("provisioner.emulator.moto", run_name="__main__")

    assert code in str(end.value.code)
    assert ("--port" in capsys.readouterr().out) == (not missing)
