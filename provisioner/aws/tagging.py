"""GetResources of the resource groups tagging API: which algorithms are tagged, and how, 100 a call."""

from __future__ import annotations

from typing import Any

from provisioner.aws.faces import Tagged, TaggedPage

SERVICE = "resourcegroupstaggingapi"
OPERATION = "GetResources"
RESOURCE_TYPE = "cleanrooms-ml:configured-model-algorithm"
PAGE_SIZE = 100
"""The most that the API allows (API reference, ResourcesPerPage)."""


def params(next_token: str) -> dict[str, Any]:
    """The parameters of the call for the page at ``next_token``, "" for the first."""
    first = {"ResourceTypeFilters": [RESOURCE_TYPE], "ResourcesPerPage": PAGE_SIZE}
    return first | ({"PaginationToken": next_token} if next_token else {})


def page(answer: dict[str, Any]) -> TaggedPage:
    """The page in an answer.

    Raises:
        KeyError, TypeError, AttributeError: it cannot be read.
    """
    return TaggedPage(
        items=tuple(_tagged(row) for row in answer["ResourceTagMappingList"]),
        next_token=answer.get("PaginationToken", ""),
    )


def _tagged(row: dict[str, Any]) -> Tagged:
    return Tagged(row["ResourceARN"], {tag["Key"]: tag["Value"] for tag in row.get("Tags", ())})
