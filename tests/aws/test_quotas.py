"""What Service Quotas says of the rate of creates."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiobotocore.session import AioSession

from provisioner.aws.quotas import ask, published_rate
from tests.aws.server import Server, http, send

RATE = "Rate of CreateConfiguredModelAlgorithm requests"


@pytest.mark.parametrize(
    ("quotas", "rate"),
    [
        ([], None),
        ([{"QuotaName": RATE, "Value": 5.0}], 5.0),
        ([{"QuotaName": RATE, "Value": 5.0, "Period": {"PeriodValue": 1, "PeriodUnit": "SECOND"}}], 5.0),
        ([{"QuotaName": RATE, "Value": 300.0, "Period": {"PeriodValue": 1, "PeriodUnit": "MINUTE"}}], 5.0),
        ([{"QuotaName": "Create Configured Model Algorithm request rate", "Value": 7}], 7.0),
        ([{"QuotaName": "Configured model algorithms", "Value": 1000.0}], None),
        ([{"QuotaName": "Rate of CreateTrainedModel requests", "Value": 5.0}], None),
        ([{"QuotaName": RATE, "Value": 0.0}], None),
        ([{"QuotaName": RATE}], None),
        ([{"QuotaName": RATE, "Value": 9.0, "Period": {"PeriodValue": 1, "PeriodUnit": "WEEK"}}], None),
    ],
)
def test_a_rate_is_read_only_from_a_quota_of_the_operations_rate(quotas: list[Any], rate: float | None) -> None:
    """A quota of another operation, of a count or in an unknown unit is no rate of creates."""
    assert published_rate(quotas) == rate


async def asked_at(url: str) -> float | None:
    """The answer of Service Quotas at ``url``."""
    opening = AioSession().create_client(
        "service-quotas",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key="no-secret",
    )
    async with opening as client:

        async def opened() -> Any:
            return client

        return await ask(opened)


async def test_service_quotas_is_asked_page_by_page() -> None:
    """The rate may stand on a later page."""
    first = send(http(body=json.dumps({"Quotas": [], "NextToken": "2"}).encode()))
    second = send(http(body=json.dumps({"Quotas": [{"QuotaName": RATE, "Value": 4.0}]}).encode()))
    async with Server(first, second) as server:
        assert await asked_at(server.url) == 4.0


async def test_a_refusal_of_service_quotas_is_no_error() -> None:
    """Without the permission to ask, the pacer begins as it does without the option."""
    refused = send(http(403, body=b'{"__type": "AccessDeniedException", "message": "no"}'))
    async with Server(refused) as server:
        assert await asked_at(server.url) is None
