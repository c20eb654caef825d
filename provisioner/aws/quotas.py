"""What Service Quotas says of the rate of creates, if it says anything: a start for the pacer, never a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore import exceptions as sdk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

SERVICE_CODE = "cleanrooms-ml"
OPERATION = "createconfiguredmodelalgorithm"
RATE_WORDS = ("rate", "request", "throttl", "transaction")
"""Words by which quotas of API calls are named in Service Quotas; a count of resources has none of them."""
SECONDS = {"SECOND": 1.0, "MINUTE": 60.0, "HOUR": 3600.0}


def published_rate(quotas: Iterable[Mapping[str, Any]]) -> float | None:
    """Creates per second in the answer of ListServiceQuotas, None when there is no such quota. Pure.

    Args:
        quotas: its ``Quotas``; a quota without ``Period`` is per second, as API quotas are.
    """
    for quota in quotas:
        name = str(quota.get("QuotaName", "")).lower()
        if OPERATION not in name.replace(" ", "") or not any(word in name for word in RATE_WORDS):
            continue
        period = quota.get("Period") or {}
        unit = SECONDS.get(str(period.get("PeriodUnit", "SECOND")))
        value = quota.get("Value")
        if unit and isinstance(value, int | float) and value > 0:
            return float(value) / (unit * float(period.get("PeriodValue", 1)))
    return None


async def ask(client: Callable[[], Awaitable[Any]]) -> float | None:
    """Creates per second that Service Quotas publishes; None when it publishes none or cannot be asked.

    Args:
        client: makes a client of Service Quotas.
    """
    try:
        quotas = await client()
        pages = quotas.get_paginator("list_service_quotas").paginate(ServiceCode=SERVICE_CODE)
        return published_rate([quota async for page in pages for quota in page.get("Quotas", ())])
    except (sdk.BotoCoreError, sdk.ClientError):
        return None
