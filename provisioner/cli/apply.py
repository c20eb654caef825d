"""``provisioner apply``."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import click
import msgspec
from click.core import ParameterSource

from provisioner.cli import parameters
from provisioner.cli.choice import Choice
from provisioner.cli.options import (
    Duration,
    FileName,
    common,
    deletes_adopted,
    deletes_unasked,
    lock_timeout,
    manifest_argument,
    max_delete,
    program_of,
    report_option,
    take_over,
)
from provisioner.cli.program import current
from provisioner.cli.running import COMMON, SelectiveOptions, execute
from provisioner.cli.selection import selection
from provisioner.config.settings import ADOPT, Adopt, OnChange, ReplaceOrder
from provisioner.errors import UsageError
from provisioner.ledger.jobs import AUTO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.commands.run import Order
    from provisioner.config.settings import Settings
    from provisioner.exit_codes import ExitCode


LOCAL, RAY = "local", "ray"
"""What runs a job's workers: this process, as the only one, or a cluster of Ray."""


class ApplyOptions(SelectiveOptions, frozen=True, kw_only=True):
    """The options of ``apply``, as click parsed them."""

    manifest: tuple[str, ...]
    strict: bool
    max_rate: float | None
    max_in_flight: int | None
    deadline: str | None
    no_wait: bool
    adopt: Adopt
    take_over: str
    retry_failed: bool
    on_change: OnChange | None
    replace_order: ReplaceOrder | None
    keep: int | None
    prune: bool | None
    max_delete: int | None
    max_create: int | None
    max_failures: tuple[int, float] | None
    own_tags: bool
    adopted: bool
    yes: bool = False
    plan: str | None = None
    report: str | None = None
    job: str = ""
    engine: str = LOCAL
    workers: int | None = None
    ray_address: str = ""
    detailed_exitcode: bool

    def settings(self) -> Settings:
        """The configuration, overridden by the command line."""
        settings = super().settings()
        settings = settings.override("run", max_in_flight=self.max_in_flight, deadline=self.deadline)
        settings = settings.override("pace", max_rate=self.max_rate)
        return settings.override(
            "lifecycle",
            on_change=self.on_change,
            replace_order=self.replace_order,
            keep=self.keep,
            prune=self.prune,
            max_delete=self.max_delete,
        )

    def _check_lifecycle(self, settings: Settings) -> None:
        """Make sure that no option contradicts another one, or the file; what the file alone says is checked later.

        Raises:
            UsageError: one does.
        """
        lifecycle = settings.lifecycle
        given = {"--keep": self.keep, "--replace-order delete-first": self.replace_order}
        if not (lifecycle.keep and lifecycle.replace_order == "delete-first") or not any(given.values()):
            return
        keep = "--keep" if self.keep else "`keep` in the configuration"
        order = "--replace-order delete-first" if self.replace_order else "`replace_order` in the configuration"
        what = f"{keep} and {order} contradict each other: what is deleted first cannot be kept"
        out = next(option for option, value in given.items() if value)
        raise UsageError(what, hint=f"Leave {'one of them' if all(given.values()) else out} out")

    def order(self, settings: Settings) -> Order:
        """What the run is to do."""
        self._check_lifecycle(settings)
        order = msgspec.structs.replace(
            super().order(settings), yes=self.yes, detailed=self.detailed_exitcode, job=self.job
        )
        if self.plan is not None:
            return self._planned(order)
        policy = msgspec.structs.replace(
            order.policy,
            adopt=self.adopt,
            take_over=self.take_over,
            retry_failed=self.retry_failed,
            wait=not self.no_wait,
            max_create=self.max_create or 0,
            max_failures=self.max_failures[0] if self.max_failures else 0,
            max_failures_share=self.max_failures[1] if self.max_failures else 0.0,
            own_tags=self.own_tags,
            adopted=self.adopted,
        )
        return msgspec.structs.replace(
            order,
            sources=self.manifest,
            policy=policy,
            strict=self.strict,
        )

    def _planned(self, order: Order) -> Order:
        """What the saved plan says, with the options that only this run has."""
        from provisioner.commands.planfile import PlanFile

        plan = PlanFile.load(str(self.plan))
        plan.check_policy(order.policy)
        if self.targets and {target.name for target in order.targets} != set(plan.targets):
            what = f"the plan is for {', '.join(plan.targets)}"
            raise UsageError(what, where=str(self.plan), hint="Leave out --target, or make a plan for these targets")
        settings = msgspec.structs.replace(order.settings, lifecycle=plan.lifecycle)
        targets = settings.select(tuple(plan.targets))
        if len(targets) != len(plan.targets):
            what = f"the plan is for other targets than those of shard {settings.shard}"
            raise UsageError(what, where=str(self.plan), hint="Give the same --shard as to the `plan` that made it")
        return msgspec.structs.replace(
            order,
            settings=settings,
            targets=targets,
            sources=plan.sources,
            policy=msgspec.structs.replace(plan.policy, wait=not self.no_wait),
            plan=plan,
            strict=plan.strict,
        )


PLANNED = frozenset(
    {
        "names",
        "states",
        "run",
        "since",
        "code",
        "strict",
        "adopt",
        "take_over",
        "retry_failed",
        "on_change",
        "replace_order",
        "keep",
        "prune",
        "max_delete",
        "max_create",
        "max_failures",
        "own_tags",
        "adopted",
    }
)
"""Options that decide on steps: a saved plan has them."""


def _refuse_planned() -> None:
    """Make sure that no option is given that the saved plan has decided.

    Raises:
        UsageError: one is.
    """
    context = click.get_current_context()
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name in PLANNED and source in {ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT}:
            hint = f"Leave it out, or make a new plan: `provisioner plan {option.opts[0]} ... -o FILE`"
            raise UsageError(f"{option.opts[0]} is decided by the plan, and cannot be given with --plan", hint=hint)


class Failures(click.ParamType[tuple[int, float]]):
    """``20`` or ``5%``: a number, and a share; one of them is 0."""

    name = "failures"

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[int, float]:
        """Read the text."""
        text = str(value)
        digits = text.removesuffix("%")
        if not digits.isascii() or not digits.isdecimal() or not 0 < int(digits) <= (100 if text != digits else 10**9):
            self.fail(f"{text!r} is neither a number from 1 nor a share from 1% to 100%", param, ctx)
        return (0, int(digits) / 100) if text != digits else (int(digits), 0.0)


def _job(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str:
    if value is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,99}", value):
        raise click.BadParameter(
            "an ID has up to 100 letters, digits and . _ : @ + -, and begins with a letter or a digit"
        )
    return value or AUTO


def _ping(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is None or (program := program_of(context)) is None:
        return
    from provisioner.cli.ping import Ping, ping_url

    try:
        program.unattended.ping = Ping(ping_url(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


OPTIONS: tuple[Callable[[Any], Any], ...] = (
    common(*COMMON),
    selection(),
    parameters.option("--strict", is_flag=True, help="Send nothing if any line is invalid."),
    parameters.option(
        "--max-rate",
        type=click.FloatRange(min=0),
        metavar="N",
        help="Send at most N creates per second; 0 is no bound.",
    ),
    parameters.option(
        "--max-in-flight", type=click.IntRange(1, 4096), metavar="N", help="Keep at most N creates in flight."
    ),
    parameters.option(
        "--deadline", type=Duration(), help="After this time, finish what is in flight and stop (exit code 75)."
    ),
    lock_timeout,
    parameters.option(
        "--no-wait",
        is_flag=True,
        help="Do not wait for the settle time of unanswered creates: leave them to the next run (exit code 5).",
    ),
    parameters.option(
        "--adopt",
        type=Choice(get_args(Adopt)),
        default=ADOPT,
        show_default=True,
        help="Whether to take over an algorithm of the same name that no ledger created; same: if the "
        "definitions agree.",
    ),
    take_over,
    parameters.option("--retry-failed", is_flag=True, help="Retry definitions that an earlier run recorded as failed."),
    parameters.option(
        "--on-change",
        type=Choice(get_args(OnChange)),
        help="What to do with a definition that only a new algorithm can express: report it, or create a new algorithm "
        "and delete the old one. Tags are always changed in place.  [default: fail]",
    ),
    parameters.option(
        "--replace-order",
        type=Choice(get_args(ReplaceOrder)),
        help="Whether the new algorithm is created before the old one is deleted; delete-first is for a full quota, "
        "and where names are unique.  [default: create-first]",
    ),
    parameters.option(
        "--keep",
        type=click.IntRange(0, 1000),
        metavar="N",
        help="Keep the N newest older versions of a name.  [default: 0]",
    ),
    parameters.option(
        "--prune/--no-prune",
        default=None,
        help="Delete algorithms that this ledger created and whose definition left the manifest.  [default: no]",
    ),
    max_delete,
    parameters.option(
        "--max-create",
        type=click.IntRange(1),
        metavar="N",
        help="Send at most N creates to each target, and leave the rest to the next run (exit code 75).",
    ),
    parameters.option(
        "--max-failures",
        type=Failures(),
        metavar="N|P%",
        help="Stop a target once N definitions, or P% of them, have failed for the same cause.",
    ),
    parameters.option(
        "--own-tags",
        is_flag=True,
        help="Remove tags that others added, where tags are changed or `verify --mark-drifted` recorded them.",
    ),
    deletes_adopted,
    parameters.option(
        "--detailed-exitcode", is_flag=True, help="Exit with 10 when nothing failed and there was something to do."
    ),
)
"""What ``apply`` and ``plan`` have in common: a plan predicts what ``apply`` does with the same options."""


def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add :data:`OPTIONS` to ``command``."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def _check_ray(given: Mapping[str, Any]) -> None:
    """Make sure that workers elsewhere can do what the options say.

    Raises:
        UsageError: they cannot.
    """
    if given["workers"] is None:
        raise UsageError("--engine ray needs the number of workers", hint="Add it: --workers 4")
    monitoring = current().unattended.monitoring
    wishes = {
        "--report": given["report"] is not None,
        "--metrics-file": monitoring.file is not None,
        "--metrics-port": monitoring.listen is not None,
    }
    for option in (option for option, wished in wishes.items() if wished):
        what = f"{option} describes this process, but with --engine ray the workers do the work"
        raise UsageError(what, hint=f"Leave out {option}; `provisioner report RUN` shows the run of a worker")
    if click.get_current_context().get_parameter_source("ping_url") is ParameterSource.COMMANDLINE:
        what = "the URL of --ping-url is a secret, and Ray keeps and shows the command line"
        raise UsageError(what, hint="Set PROVISIONER_APPLY_PING_URL instead")


@click.command("apply")
@manifest_argument(required=False)
@with_options
@parameters.option(
    "--plan",
    metavar="FILE",
    type=FileName(),
    help="Carry out exactly the steps of a saved plan, instead of a manifest.",
)
@deletes_unasked
@report_option
@parameters.option(
    "--job",
    metavar="ID",
    callback=_job,
    help="Join the job with this ID, whose workers share its targets. Needs a ledger in PostgreSQL; there, auto joins "
    "the job of a run under way with the same manifest and options (docs/workers.md).  [default: auto]",
)
@parameters.option(
    "--engine",
    type=Choice([LOCAL, RAY]),
    default=LOCAL,
    show_default=True,
    help="ray: run the --workers of a job on a Ray cluster, and restart them when they die. Needs a ledger in "
    "PostgreSQL (docs/fleet.md).",
)
@parameters.option("--workers", type=click.IntRange(1, 1000), metavar="K", help="Number of workers, with --engine ray.")
@parameters.option(
    "--ray-address",
    default="",
    metavar="ADDRESS",
    help="Address of the Ray cluster: HOST:PORT, or auto.  [default: RAY_ADDRESS, else a cluster on this machine]",
)
@parameters.option(
    "--ping-url",
    metavar="URL",
    callback=_ping,
    is_eager=True,
    expose_value=False,
    help="Report start and end to this URL by the protocol of healthchecks.io. The URL is a secret, so set "
    "PROVISIONER_APPLY_PING_URL instead.",
)
def command(**given: Any) -> ExitCode:  # noqa: ANN401  click's values, typed by ApplyOptions
    """MANIFEST is a path, a glob, s3://bucket/key, or - for standard input; .gz and .zst files are decompressed.

    It is safe to run at any time and as often as you like: what is registered is not sent again. It reads what the
    account holds first: an algorithm that this ledger created but does not record is recovered, one that is gone from
    AWS is created again, one that another ledger created is refused. Tags are changed in place. With --on-change
    replace, what changed otherwise is replaced; with --prune, what left the manifest is deleted. The exit code is 0
    when everything is as the manifest says; README.md lists the others.
    """
    from provisioner.commands.apply import apply

    if bool(given["manifest"]) == (given["plan"] is not None):
        what = (
            "a manifest and --plan exclude each other"
            if given["manifest"]
            else "name a manifest, or a saved plan with --plan"
        )
        raise UsageError(what, hint="See `provisioner apply --help`")
    if given["plan"] is not None:
        _refuse_planned()
    work = partial(apply, stdin=current().streams.stdin)
    if given["engine"] == RAY:
        _check_ray(given)
        from provisioner.commands.ray import apply_on_ray

        work = partial(apply_on_ray, workers=given["workers"], address=given["ray_address"])
    elif given["workers"] or given["ray_address"]:
        option = "--workers" if given["workers"] else "--ray-address"
        raise UsageError(f"{option} is for --engine ray", hint=f"Add --engine ray, or leave out {option}")
    if given["report"] is not None:
        from provisioner.cli.report import reporting

        work = partial(reporting, work, given["report"])
    return execute(ApplyOptions(**given), work)
