"""A saved plan: ``plan -o FILE`` writes it, and ``apply --plan FILE`` carries out exactly its steps, or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
import msgspec

from provisioner.commands.objects import read_object
from provisioner.config.settings import LifecycleSettings  # noqa: TC001  msgspec reads these types at run time
from provisioner.core.objects import is_object
from provisioner.core.planner import Action
from provisioner.core.policy import Policy  # noqa: TC001  the same
from provisioner.errors import ManifestError, ProvisionerError, Reason, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.core.planner import Step
    from provisioner.engine.planning import Planned
    from provisioner.ledger import Ledger
    from provisioner.manifest.reader import Manifest

VERSION = 1
RUNS_SEEN = 1000
"""The ledger keeps no more runs than that."""
ASSUMED = {"ownership_tag": "ownership_tag", "settle_s": "settle", "list_lag_s": "list_lag", "names": "names"}
"""What a policy assumes of the service, by the key of the configuration: no plan may change that."""
CONTINUED = {
    Action.CREATE: {Action.AMBIGUOUS},
    Action.RECREATE: {Action.AMBIGUOUS, Action.CREATE},
    Action.REPLACE: {Action.AMBIGUOUS, Action.CREATE},
    Action.RECOVER: {Action.UPDATE},
    Action.ADOPT: {Action.UPDATE},
}
"""What becomes of a step that was interrupted: its create has no answer, its old algorithm is deleted, its tags are
left."""


class PlannedTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a saved plan has of one target.

    Attributes:
        serial: the ledger's count of changes of the target when it was planned.
        fingerprint: of the manifest, with the rules of this target.
        steps: for each definition for which there is something to do: the action, and the ARN of what is taken over.
        deletions: ARN of each algorithm whose definition left the manifest and which is deleted, by name.
        names: for which there is something to do, where only some were selected; None where all were.
    """

    serial: int
    fingerprint: str
    steps: dict[str, str]
    deletions: dict[str, str]
    names: list[str] | None = None


class PlanFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A saved plan.

    Attributes:
        version: of this format.
        plan_id: of the plan; sortable by the time at which it was made.
        ledger_id: of the ledger; "" if there was none yet, and then it has no entries either.
        sources: of the manifest.
        strict: whether nothing is sent if any line is invalid.
        policy, lifecycle: the rules by which it was made.
        targets: by name.
    """

    version: int
    plan_id: str
    ledger_id: str
    sources: tuple[str, ...]
    strict: bool
    policy: Policy
    lifecycle: LifecycleSettings
    targets: dict[str, PlannedTarget]

    @property
    def command(self) -> str:
        """What the ledger records of a run that carries it out, once it is checked: such a run can be continued."""
        return f"apply --plan {self.plan_id}"

    def encoded(self) -> bytes:
        """As it is saved."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    @classmethod
    def load(cls, path: str) -> PlanFile:
        """Read a saved plan.

        Args:
            path: of a file, or the name of an object in S3.

        Raises:
            UsageError: the file cannot be read, or is no plan of this version.
            ProvisionerError: S3 cannot be read.
        """
        try:
            saved = read_object(path) if is_object(path) else Path(path).read_bytes()
            plan = msgspec.json.decode(saved, type=cls)
        except OSError as error:
            raise UsageError("the plan cannot be read", where=path, why=str(error.strerror)) from error
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
            hint = "Make one with `provisioner plan MANIFEST -o FILE`"
            raise UsageError("this is not a saved plan", where=path, why=str(error), hint=hint) from error
        if plan.version != VERSION:
            raise UsageError(f"the plan has format {plan.version}, and this program reads {VERSION}", where=path)
        return plan

    def may_do(self, target: str, planned: Planned) -> bool:
        """Whether the plan has this very step."""
        here = self.targets.get(target)
        saved = here.steps.get(planned.row.name, "") if here else ""
        action = saved.partition(" ")[0]
        continued = action in set(Action) and planned.step.action in CONTINUED.get(Action(action), ())
        return continued or saved == step_text(planned.step)

    def check_policy(self, policy: Policy) -> None:
        """Make sure that the configuration still assumes the same of the service.

        Raises:
            StalePlanError: it does not.
        """
        for field, key in ASSUMED.items():
            if getattr(self.policy, field) != getattr(policy, field):
                raise StalePlanError(f"`{key}` in [reconcile] of the configuration has changed since")


def step_text(step: Step) -> str:
    """A step as a plan saves it."""
    return f"{step.action} {step.found.arn}" if step.found else step.action.value


class StalePlanError(ProvisionerError):
    """What a saved plan was made from has changed since, so nothing was done.

    Args:
        what: has changed.
        where: the target or file.
    """

    reason = Reason.USAGE

    def __init__(self, what: str, where: str = "") -> None:
        hint = "Nothing was done. Make a new plan with `provisioner plan MANIFEST -o FILE`"
        super().__init__(f"the plan is out of date: {what}", where=where, hint=hint)


async def check(plan: PlanFile, ledger: Ledger, manifests: Mapping[str, Manifest], run_id: str) -> None:
    """Make sure that nothing has changed since ``plan`` was made, but for what an interrupted run of it did.

    Args:
        plan: to carry out.
        ledger: with which.
        manifests: by target.
        run_id: of this run.

    Raises:
        StalePlanError: the ledger, one of its targets, or the manifest has.
    """
    if plan.ledger_id and ledger.ledger_id != plan.ledger_id:
        raise StalePlanError(f"it was made with ledger {plan.ledger_id}, and this one is {ledger.ledger_id}")
    if missing := sorted(plan.targets.keys() ^ manifests.keys()):
        raise StalePlanError("it was made for other targets", missing[0])
    for name, manifest in manifests.items():
        here = plan.targets[name]
        if await ledger.changes(name) != here.serial and not await _continues(plan, ledger, run_id):
            raise StalePlanError("the ledger has changed since", name)
        try:
            found = await anyio.to_thread.run_sync(manifest.fingerprint, abandon_on_cancel=True)
        except ManifestError as error:
            raise StalePlanError("the manifest cannot be read any more", str(error)) from error
        if found != here.fingerprint:
            raise StalePlanError(
                "the manifest, or what the configuration makes of it, has changed since", ", ".join(plan.sources)
            )


async def _continues(plan: PlanFile, ledger: Ledger, run_id: str) -> bool:
    """Whether all runs since the plan carried it out, and there was one."""
    since = [run for run in await ledger.runs(RUNS_SEEN) if run.run_id > plan.plan_id and run.run_id != run_id]
    return bool(since) and all(run.command == plan.command for run in since)


def deleted(plan: PlanFile, target: str) -> Sequence[str]:
    """The ARNs that the plan deletes because their definitions left the manifest."""
    here = plan.targets.get(target)
    return list(here.deletions.values()) if here else []
