"""The manifest as each target reads it: with the defaults of the configuration and the target's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.aws import objects
from provisioner.commands.finding import names_of
from provisioner.config.merge import merge
from provisioner.core.place import partition_of, real_region
from provisioner.errors import ConfigurationError
from provisioner.manifest.audience import Audience, Known
from provisioner.manifest.parser import Rules, problems_of_defaults
from provisioner.manifest.reader import Manifest
from provisioner.manifest.shared import SharedManifest
from provisioner.manifest.templates import TemplateError, filled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from provisioner.commands.run import Run
    from provisioner.config.settings import Settings
    from provisioner.config.target import Target
    from provisioner.core.problem import Problem
    from provisioner.ledger import Ledger


def manifests_for(
    sources: Sequence[str],
    settings: Settings,
    targets: Sequence[Target],
    *,
    stdin: BinaryIO | None = None,
    copied: bool = False,
) -> dict[str, Manifest]:
    """The manifest by target. Those with the same rules share one reading, and each has its own speed.

    Args:
        sources: paths, globs, ``s3://bucket/key`` or ``-``.
        settings: the configuration.
        targets: that read it; none where a shard has none.
        stdin: what ``-`` reads.
        copied: read a copy of every file, so that each reading sees the same bytes.

    Raises:
        ConfigurationError: the defaults are invalid.
        ManifestError: a source does not exist or cannot be read.
        ProvisionerError: S3 cannot be read.
        ScratchError: a copy cannot be written.
    """
    rules = {target.name: rule for target, rule in zip(targets, _Rules(settings).each(targets), strict=True)}
    if not rules:
        return {}
    readers: dict[bytes, list[str]] = {}
    for name, rule in rules.items():
        readers.setdefault(_key(rule), []).append(name)
    first = Manifest(sources, next(iter(rules.values())), stdin=stdin, objects=objects)
    if copied or len(rules) > 1:
        first = first.spooled(files=copied)
    known, manifests = Known(settings.tags), {}
    for names in readers.values():
        alike = first.under(rules[names[0]], Audience(known, names))
        shared = SharedManifest(alike) if len(names) > 1 else alike
        manifests.update({name: shared.for_target(name) for name in names})
    return {name: manifests[name] for name in rules}


async def selected(
    manifests: Mapping[str, Manifest], ledger: Ledger, run: Run, *, asking: str = ""
) -> dict[str, Manifest]:
    """The manifests, limited to the selection of ``run``, or to that of its saved plan.

    Args:
        manifests: by target.
        ledger: which records what is selected.
        run: whose selection it is.
        asking: as for :func:`~provisioner.commands.finding.find_run`.

    Raises:
        UsageError: the selection names a run that does not exist.
    """
    found, order = {}, run.order
    for name, manifest in manifests.items():
        planned = order.plan.targets[name].names if order.plan is not None else None
        selects = (
            await names_of(ledger, order.selection, name, own=run.run_id, asking=asking)
            if planned is None
            else set(planned).__contains__
        )
        found[name] = manifest.selecting(selects)
    return found


def once_per_rules(manifests: Mapping[str, Manifest]) -> dict[str, Manifest]:
    """One target for each set of rules: those with the same rules have the same problems."""
    chosen: dict[bytes, tuple[str, Manifest]] = {}
    for name, manifest in manifests.items():
        chosen.setdefault(_key(manifest.rules), (name, manifest))
    return dict(chosen.values())


class LineProblems:
    """Picks the problems to report, so that each problem of a line is reported once.

    Of targets with the same rules, the first to read reports; one that is paused or cannot be opened does not read.
    Other rules, such as those of templates, mostly find the same problems.

    Args:
        manifests: by target.
        reporters: the targets that report, one for each set of rules; without one, the first to read.
    """

    def __init__(self, manifests: Mapping[str, Manifest], reporters: Iterable[str] = ()) -> None:
        self._rules = {name: _key(manifest.rules) for name, manifest in manifests.items()}
        self._reporters = {self._rules[name]: name for name in reporters}
        self._seen: set[int] = set()

    def unreported(self, target: str, problems: Sequence[Problem]) -> Sequence[Problem]:
        """Those of ``problems``, which ``target`` has just read, that are to be reported."""
        if not problems or self._reporters.setdefault(self._rules[target], target) != target:
            return ()
        new = [problem for problem in problems if hash(problem) not in self._seen]
        self._seen.update(map(hash, new))
        return new


def _key(rules: Rules) -> bytes:
    """Equal for equal rules."""
    return msgspec.json.encode(rules, order="sorted")


class _Rules:
    """Makes the rules for reading a manifest. What targets have in common is checked once.

    Args:
        settings: the configuration.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._checked: set[bytes] = set()

    def each(self, targets: Iterable[Target]) -> Iterator[Rules]:
        """The rules of every target.

        Raises:
            ConfigurationError: the defaults are invalid, whatever a line adds to them.
        """
        for target in targets:
            table = f"[targets.{target.name}.defaults]"
            variables = _variables(target) if self._settings.templates else None
            general = self._filled(self._settings.general_defaults, variables, f"[defaults] for target {target.name}")
            own = self._filled(target.defaults, variables, table)
            self._check("[defaults]", Rules(general, self._tag))
            self._check(table, Rules(own, self._tag))
            rules = Rules(merge(general, own), self._tag, variables)
            self._check(f"[defaults] and {table} together", rules)  # each may have 40 tags
            yield rules

    @property
    def _tag(self) -> str:
        return self._settings.reconcile.ownership_tag

    def _filled(self, defaults: dict[str, Any], variables: dict[str, str] | None, table: str) -> dict[str, Any]:
        if variables is None:
            return defaults
        try:
            made: dict[str, Any] = filled(defaults, variables)
        except TemplateError as error:
            raise ConfigurationError(str(error), where=table) from error
        return made

    def _check(self, table: str, rules: Rules) -> None:
        key = _key(Rules(rules.defaults, rules.ownership_tag))
        if key in self._checked:
            return
        if problems := problems_of_defaults(rules):
            what = problems[0].text
            if len(problems) > 1:
                what = f"{len(problems)} problems, the first: {what}"
            raise ConfigurationError(what, where=table)
        self._checked.add(key)


def _variables(target: Target) -> dict[str, str]:
    """What templates stand for in ``target``, as far as the configuration says it."""
    region = real_region(target.region)
    own = {"account_id": target.account_id, "region": region, "partition": partition_of(region) if region else ""}
    return {**target.vars, "target": target.name, **{name: value for name, value in own.items() if value}}
