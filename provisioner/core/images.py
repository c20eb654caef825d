"""Container images: where a URI leads, as far as Amazon ECR is concerned. Pure."""

from __future__ import annotations

import re

import msgspec

_ECR = re.compile(
    r"([0-9]{12})\.(?:dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?|dkr-ecr(?:-fips)?\.([a-z0-9-]+)\.on\.aws)"
    r"/([^:@]+)(?::([^:@]+)|@(.+))?"
)
"""A private registry, in its first form and in that for IPv6 (Amazon ECR User Guide, "Amazon ECR endpoints")."""


class Image(msgspec.Struct, frozen=True):
    """An image in a private registry of Amazon ECR.

    Attributes:
        account_id, region: of the registry.
        repository: its name.
        tag: "" where the digest names the image.
        digest: such as ``sha256:…``; "" where the tag does.
    """

    account_id: str
    region: str
    repository: str
    tag: str
    digest: str

    def repository_arn(self, partition: str) -> str:
        """The repository, as IAM names it."""
        return f"arn:{partition}:ecr:{self.region}:{self.account_id}:repository/{self.repository}"


def read_image(uri: str) -> Image | None:
    """The image that ``uri`` names; None when it is not in a private registry of Amazon ECR."""
    match = _ECR.fullmatch(uri)
    if match is None:
        return None
    account_id, region, region_of_ipv6, repository, tag, digest = match.groups(default="")
    return Image(account_id, region or region_of_ipv6, repository, tag or ("" if digest else "latest"), digest)
