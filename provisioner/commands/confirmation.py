"""Whether what a run would delete may be deleted: the bound, and whoever has to confirm it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from provisioner.errors import ProvisionerError, Reason, counted
from provisioner.exit_codes import code_for

if TYPE_CHECKING:
    from provisioner.commands.run import Run


class DeletionsRefusedError(ProvisionerError):
    """More would be deleted than is allowed; nothing was."""

    reason = Reason.FAILED


class UnconfirmedError(ProvisionerError):
    """Nobody confirmed that algorithms may be deleted."""

    reason = Reason.USAGE


class Refusal(NamedTuple):
    """Why ``apply`` does nothing at all.

    Attributes:
        what: is wrong.
        reason: of which kind that is.
        hint: what to do.
    """

    what: str
    reason: Reason
    hint: str

    @property
    def text(self) -> str:
        """For the plan of such a run."""
        return f"{self.what}; `apply` does nothing and ends with {code_for([self.reason])}. {self.hint}"


def refusal(run: Run, deletions: int, invalid: int) -> Refusal | None:
    """Why a run with the same order would do nothing, whoever confirms it; None if it would not refuse.

    Args:
        run: with its bounds.
        deletions: how many algorithms it would delete.
        invalid: how many lines of the manifest are.
    """
    if run.order.strict and invalid:
        lines = counted(invalid, "line is", "lines are")
        hint = "Fix the manifest, or leave out --strict"
        return Refusal(f"{lines} invalid, which --strict does not allow", Reason.INVALID, hint)
    most = run.order.settings.lifecycle.max_delete
    if most and deletions > most:
        algorithms = counted(deletions, "algorithm", "algorithms")
        what = f"{algorithms} would be deleted, and --max-delete is {most}"
        return Refusal(what, DeletionsRefusedError.reason, "Raise --max-delete")
    return None


async def confirm(run: Run, count: int, why: str, *, look: str = "`provisioner plan`") -> None:
    """Make sure that ``count`` algorithms may be deleted. When the answer is no, the run is stopped.

    Args:
        run: with its bounds, and whom to ask.
        count: how many.
        why: for the question, "" for no reason.
        look: what shows them.

    Raises:
        DeletionsRefusedError: they are more than ``--max-delete`` allows.
        UnconfirmedError: there is nobody to ask.
    """
    if (refused := refusal(run, count, invalid=0)) is not None:
        hint = f"Look at {look}, then raise --max-delete"
        raise DeletionsRefusedError(f"{refused.what}; nothing was deleted", hint=hint)
    if not count or run.order.yes:
        return
    what = counted(count, "algorithm", "algorithms") + (f" ({why})" if why else "")
    if run.ask is None:
        hint = f"Look at {look}, then confirm with --yes"
        raise UnconfirmedError(f"{what} would be deleted in {_places(run)}; nothing was", hint=hint)
    if not await run.ask(f"Delete {what} in {_places(run)}?"):
        run.stop.request("nothing was done, because the deletion was not confirmed")


PLACES_NAMED = 3
"""Targets that a question names."""


def _places(run: Run) -> str:
    """Where the run deletes."""
    places = [
        f"{name} ({place})" if (place := f"{one.account_id} {one.region}".strip()) else name
        for name, one in run.statistics.items()
        if not one.halt
    ]
    named, more = ", ".join(places[:PLACES_NAMED]), len(places) - PLACES_NAMED
    return f"{named} and {counted(more, 'more target', 'more targets')}" if more > 0 else named
