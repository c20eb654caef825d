"""Which places targets may claim, given what the ledger knows and what this run has claimed."""

from __future__ import annotations

import asyncio

import pytest

from provisioner.config.target import Target
from provisioner.core.place import Kind, Place
from provisioner.errors import ConfigurationError, IntegrityError
from provisioner.fleet.places import Places, kind_of
from tests.fakes import FakeLedger
from tests.virtual_time import virtual_time

ONE, TWO = "111111111111", "222222222222"


def at(account_id: str = ONE, region: str = "us-east-1", kind: Kind = "aws") -> Place:
    """A place."""
    return Place(kind, region, account_id)


async def places(known: dict[str, Place], configured: tuple[str, ...] = ("east", "west")) -> tuple[Places, FakeLedger]:
    """The places of a run over a ledger that knows these."""
    ledger = FakeLedger()
    for target, place in known.items():
        await ledger.set_place(target, place)
    return await Places.load(ledger, configured), ledger


CLAIMS = [
    # what the ledger knows, the claim of east, what it knows of east then; None where the claim is refused
    ({}, at(), at()),
    ({}, at(""), at("")),
    ({"east": at()}, at(), at()),
    ({"east": at("")}, at(), at()),
    ({"east": at()}, at(""), at()),
    ({"east": at()}, at(TWO), None),
    ({"east": at()}, at(region="us-east-2"), None),
    ({"east": at()}, at(kind="embedded"), None),
    ({"east": at("", kind="embedded")}, at(""), None),
    ({"east": at("")}, at("", region="us-east-2"), None),
    ({"west": at()}, at(), None),
    ({"west": at()}, at(TWO), at(TWO)),
    ({"west": at()}, at(region="us-east-2"), at(region="us-east-2")),
    ({"west": at()}, at(kind="custom"), at(kind="custom")),
    ({"west": at()}, at(""), None),
    ({"west": at("")}, at(), None),
    ({"west": at("")}, at(""), None),
    ({"west": at(""), "east": at("")}, at(), None),
    ({"east": at(), "west": at(TWO)}, at(""), at()),
    ({"old": at()}, at(), None),
]


@pytest.mark.parametrize(("known", "claimed", "kept"), CLAIMS)
def test_a_place_is_one_targets_for_good(known: dict[str, Place], claimed: Place, kept: Place | None) -> None:
    """A target stays where it was, and no two are in one account and Region, or may be where an account is unknown."""

    @virtual_time
    async def body() -> None:
        run, ledger = await places(known)
        if kept is None:
            with pytest.raises(ConfigurationError):
                await run.claim("east", claimed)
        else:
            assert await run.claim("east", claimed) == kept

        assert await ledger.places() == (known if kept is None else {**known, "east": kept})

    body()


def test_a_place_that_another_run_has_claimed_meanwhile_is_refused() -> None:
    """Its target is named, as if this run had known of it from the beginning; the place is free for a third run."""

    class Late(FakeLedger):
        async def set_place(self, target: str, place: Place) -> None:
            if target == "east":
                await super().set_place("west", at())
                raise IntegrityError("there is another one")
            await super().set_place(target, place)

    @virtual_time
    async def body() -> None:
        run = await Places.load(Late(), ("east", "west"))
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="'west' and 'east' are the same account"):
                await run.claim("east", at())
        assert await run.claim("west", at()) == at()

    body()


@pytest.mark.parametrize(
    ("known", "claimed", "texts"),
    [
        (
            {"west": at()},
            at(),
            ["the targets 'west' and 'east' are the same", f"us-east-1, account {ONE}", "Remove one"],
        ),
        ({"west": at("")}, at(), ["'west' and 'east' may be the same", "account_id", "Remove one"]),
        ({"old": at()}, at(), ["under the target 'old'", "`provisioner ledger rename-target old east`"]),
        ({"old": at("")}, at(""), ["account unknown", "account_id", "rename-target old east"]),
        ({"east": at()}, at(TWO), ["the target has moved", f"account {ONE}", f"account {TWO}", "--ledger"]),
        ({"east": at(kind="embedded")}, at(), ["the target has moved", "the embedded endpoint"]),
        ({"east": at(kind="custom")}, at(), ["the target has moved", "a custom endpoint"]),
    ],
)
def test_a_refusal_says_which_targets_and_what_to_do(known: dict[str, Place], claimed: Place, texts: list[str]) -> None:
    """A refused claim names both targets or both places, and the way out."""

    @virtual_time
    async def body() -> None:
        run, _ = await places(known)
        with pytest.raises(ConfigurationError) as caught:
            await run.claim("east", claimed)

        assert [text for text in texts if text not in str(caught.value)] == []

    body()


@virtual_time
async def test_of_two_targets_that_claim_a_place_at_once_one_gets_it() -> None:
    """The second is refused although the first one's claim is not durable yet."""
    run, ledger = await places({})

    claims = await asyncio.gather(run.claim("east", at()), run.claim("west", at()), return_exceptions=True)

    assert claims[0] == at()
    assert isinstance(claims[1], ConfigurationError)
    assert await ledger.places() == {"east": at()}


@virtual_time
async def test_an_account_that_the_first_arn_shows_is_held_against_the_others() -> None:
    """A target whose account becomes known under way is refused there if another one is in that account."""
    run, ledger = await places({"west": at(TWO)}, configured=("east", "west", "north"))
    await run.claim("east", at(region="eu-west-1", account_id=""))
    await run.claim("north", at(TWO, region="eu-north-1"))

    assert await run.claim("east", at(TWO, region="eu-west-1")) == at(TWO, region="eu-west-1")
    with pytest.raises(ConfigurationError, match="has moved"):
        await run.claim("east", at(ONE, region="eu-west-1"))
    assert (await ledger.places())["east"] == at(TWO, region="eu-west-1")


@virtual_time
async def test_a_claim_that_changes_nothing_writes_nothing() -> None:
    """The daily run finds its place as it left it."""
    run, ledger = await places({"east": at()})
    before = dict(await ledger.places())
    ledger.broken = True

    assert await run.claim("east", at("")) == at()
    assert await ledger.places() == before


@pytest.mark.parametrize(
    ("url", "embedded", "kind"),
    [
        ("", False, "aws"),
        ("https://cleanrooms-ml.us-east-1.amazonaws.com", False, "aws"),
        ("https://vpce-1.cleanrooms-ml.us-east-1.vpce.amazonaws.com", False, "aws"),
        ("https://CLEANROOMS-ML.us-east-1.AMAZONAWS.com/", False, "aws"),
        ("https://cleanrooms-ml.cn-north-1.amazonaws.com.cn", False, "aws"),
        ("https://cleanrooms-ml.us-east-1.api.aws", False, "aws"),
        ("https://amazonaws.com.example.org", False, "custom"),
        ("https://notamazonaws.com", False, "custom"),
        ("http://127.0.0.1:8080", False, "custom"),
        ("http://127.0.0.1:8080", True, "embedded"),
    ],
)
def test_whose_endpoint_it_is(url: str, embedded: bool, kind: Kind) -> None:  # noqa: FBT001  a table
    """An endpoint of AWS leads to AWS's accounts by whichever name; any other is a place of its own kind."""
    assert kind_of(Target(endpoint_url=url), embedded=embedded) == kind
