"""Marks, attempt ids and ARNs."""

from __future__ import annotations

import re
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.core.ownership import Arn, OwnershipTag, attempt_ids, check_place, read_arn, read_tag, take_tag
from provisioner.errors import IntegrityError, Reason

LEDGER, DIGEST = "0123456789abcdef", "0123456789abcdef0123456789abcdef"
ARN = "arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/9f-A_b/c.1"

hexadecimal = st.sampled_from("0123456789abcdef")
tags = st.builds(
    OwnershipTag,
    st.text(hexadecimal, min_size=16, max_size=16),
    st.text(hexadecimal, min_size=32, max_size=32),
    st.from_regex(r"[0-9A-Za-z.-]{1,64}", fullmatch=True),
)


@settings(derandomize=True)
@given(tags)
def test_a_tag_is_read_as_it_was_written(tag: OwnershipTag) -> None:
    """What every create carries proves ledger, definition and attempt when it comes back."""
    assert read_tag(str(tag)) == tag


@settings(derandomize=True)
@given(tags)
def test_an_ownership_tag_fits(tag: OwnershipTag) -> None:
    """The ownership tag is a valid tag value whatever it says: at most 256 characters of the tags' alphabet."""
    assert len(str(tag)) <= 256
    assert re.fullmatch(r"[A-Za-z0-9 +\-=._:/@]*", str(tag))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "team-ads",
        f"v2/{LEDGER}/{DIGEST}/a-1",
        f"v1/{LEDGER}/{DIGEST}/",
        f"v1/{LEDGER}/{DIGEST}/a-1\n",
        f"v1/{LEDGER}/{DIGEST}/a-1/b",
        f" v1/{LEDGER}/{DIGEST}/a-1",
        f"v1/{LEDGER.upper()}/{DIGEST}/a-1",
        f"v1/{LEDGER[1:]}/{DIGEST}/a-1",
        f"v1/{LEDGER}/{DIGEST}0/a-1",
        f"v1/{LEDGER}/{DIGEST}/{'a' * 65}",
    ],
)
def test_what_is_no_ownership_tag(value: str) -> None:
    """Whatever is not exactly an ownership tag proves nothing."""
    assert read_tag(value) is None


def test_attempts_are_never_called_the_same() -> None:
    """Ids differ within a run, and from those of another run."""
    first, second = attempt_ids(), attempt_ids()

    drawn = [*islice(first, 1000), *islice(second, 1000)]

    assert len(set(drawn)) == 2000
    assert all(read_tag(str(OwnershipTag(LEDGER, DIGEST, attempt))) for attempt in drawn)


def test_an_arn_tells_its_place() -> None:
    """Region and account are read out of an ARN, in every partition."""
    assert read_arn(ARN) == Arn("us-east-1", "123456789012")
    assert read_arn(ARN.replace("arn:aws:", "arn:aws-us-gov:")).region == "us-east-1"


@pytest.mark.parametrize(
    "arn",
    [
        "",
        ARN + "\n",
        ARN + " ",
        ARN.rsplit("/", 2)[0].removesuffix("/9f-A_b"),
        ARN.replace("cleanrooms-ml", "cleanrooms"),
        ARN.replace("configured-model-algorithm", "configured-model-algorithm-association"),
        ARN.replace("123456789012", "12345678901"),
        ARN.replace("123456789012", "١٢٣٤٥٦٧٨٩٠١٢"),
        "x" + ARN,
    ],
)
def test_what_is_no_arn_of_an_algorithm(arn: str) -> None:
    """An answer that is not exactly the ARN of an algorithm breaks the integrity of the target."""
    with pytest.raises(IntegrityError) as caught:
        read_arn(arn)

    assert caught.value.reason is Reason.DENIED


@pytest.mark.parametrize("account_id", ["123456789012", ""])
def test_an_arn_in_its_place_tells_the_account(account_id: str) -> None:
    """An ARN in the target's place is accepted, and reveals an unknown account."""
    assert check_place(ARN, region="us-east-1", account_id=account_id) == "123456789012"


@pytest.mark.parametrize(
    ("region", "account_id", "why"),
    [
        ("us-east-2", "123456789012", "another Region"),
        ("us-east-2", "", "another Region"),
        ("us-east-1", "123456789013", "another account"),
    ],
)
def test_an_arn_elsewhere_breaks_the_integrity(region: str, account_id: str, why: str) -> None:
    """An ARN of another Region or account than the target's is an integrity error that names it."""
    with pytest.raises(IntegrityError, match=why) as caught:
        check_place(ARN, region=region, account_id=account_id)

    assert caught.value.where == ARN


def test_the_ownership_tag_is_taken_out_of_the_tags() -> None:
    """Whatever its key, the ownership tag is no tag of the user's; the configured key comes first."""
    ours, other = str(OwnershipTag(LEDGER, DIGEST, "a-1")), str(OwnershipTag(LEDGER, DIGEST, "a-2"))
    tags = {"team": "ads", "before": other, "provisioner:origin": ours}

    assert str(take_tag(tags, "provisioner:origin")) == ours
    assert str(take_tag(tags, "")) == other
    assert take_tag(tags, "provisioner:origin") is None
    assert tags == {"team": "ads"}
