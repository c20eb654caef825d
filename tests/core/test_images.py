"""Where the URI of an image leads, and what an ARN consists of."""

from __future__ import annotations

import pytest

from provisioner.core.arns import iam_name, part
from provisioner.core.images import Image, read_image

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("uri", "image"),
    [
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1", ("us-east-1", "train", "1", "")),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/a/b", ("us-east-1", "a/b", "latest", "")),
        (f"123456789012.dkr.ecr.us-east-1.amazonaws.com/a@{DIGEST}", ("us-east-1", "a", "", DIGEST)),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a:1", ("cn-north-1", "a", "1", "")),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/a:1", ("us-east-1", "a", "1", "")),
        ("123456789012.dkr-ecr.us-east-1.on.aws/a:1", ("us-east-1", "a", "1", "")),
        ("public.ecr.aws/x/a:1", None),
        ("docker.io/library/a:1", None),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example/a:1", None),
        ("12345.dkr.ecr.us-east-1.amazonaws.com/a:1", None),
    ],
)
def test_only_a_private_registry_of_ecr_is_read(uri: str, image: tuple[str, str, str, str] | None) -> None:
    """All forms of a private registry's host are known; any other registry is none."""
    assert read_image(uri) == (Image("123456789012", *image) if image else None)


def test_a_repository_has_an_arn_in_the_partition_of_its_role() -> None:
    """IAM is asked about the repository, not about the image."""
    arn = Image("123456789012", "us-east-1", "a/b", "1", "").repository_arn("aws-us-gov")

    assert arn == "arn:aws-us-gov:ecr:us-east-1:123456789012:repository/a/b"


def test_an_arn_is_taken_apart() -> None:
    """Each part has its name, and what is no ARN has none."""
    arn = "arn:aws-cn:kms:cn-north-1:123456789012:key/a:b"

    assert (part(arn, "partition"), part(arn, "region")) == ("aws-cn", "cn-north-1")
    assert part(arn, "account") == "123456789012"
    assert part("nonsense", "account") == ""
    assert iam_name("arn:aws:iam::123456789012:role/a/b/name") == "name"
