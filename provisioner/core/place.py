"""Where a target is: the service, Region and account that its entries are about."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["aws", "custom", "embedded"]
"""Whose endpoint it is: AWS's own, one that the configuration names, or the embedded one."""


def real_region(region: str) -> str:
    """The Region that ARNs name, of a pseudo-Region such as ``fips-us-east-1``."""
    return region.removeprefix("fips-").removesuffix("-fips")


_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e",
    "us-isof-": "aws-iso-f",
    "eusc-": "aws-eusc",
}
"""By the beginning of a Region (botocore, ``partitions.json``)."""


def partition_of(region: str) -> str:
    """The partition that ARNs in ``region`` name."""
    real = real_region(region)
    return next((name for start, name in _PARTITIONS.items() if real.startswith(start)), "aws")


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """The service, Region and account that a target leads to.

    Attributes:
        kind: see :data:`Kind`.
        region: such as ``us-east-1``.
        account_id: "" until credentials are checked or an ARN is seen.
    """

    kind: Kind
    region: str
    account_id: str = ""
