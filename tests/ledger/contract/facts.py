"""Facts, clocks and ARNs that the tests of a ledger share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.core.entry import Entry, Event, Fact, Stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from provisioner.ledger import Ledger

    Store = Callable[..., AbstractAsyncContextManager[Ledger]]
    """Opens the same ledger again and again; takes ``now`` and ``readonly``."""
    Rival = Callable[[], AbstractAsyncContextManager[Ledger]]
    """Takes the ledger away from its writer, as after its lease was lost, and opens it for writing."""
    Put = Callable[[], None]
    """Puts something in the place of the ledger."""

AT = 1_790_000_000.125


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.at = AT

    def __call__(self) -> float:
        """The time that was set."""
        return self.at


def arn(number: int) -> str:
    """The ARN of algorithm ``number``."""
    return f"arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/{number:032x}"


def intend(name: str, attempt: str = "a1", target: str = "default", *, epoch: str = "") -> Fact:
    """The fact that a create of ``name`` is about to be sent."""
    return Fact(
        target,
        name,
        Event.INTEND,
        digest="d" * 64,
        tags_digest="t" * 64,
        attempt=attempt,
        sent=Stamp(AT, "boot", 17.25, epoch=epoch),
    )


def confirm(name: str, number: int, target: str = "default") -> Fact:
    """The fact that algorithm ``number`` was created for ``name``."""
    return Fact(target, name, Event.CONFIRM, arn=arn(number))


async def all_of(ledger: Ledger, **selection: object) -> list[Entry]:
    """Every entry of ``ledger``."""
    return [entry async for entry in ledger.entries(**selection)]  # type: ignore[arg-type]  # passed through
