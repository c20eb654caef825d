"""How targets read one manifest: lines for some of them, templates, and what a run finished."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from provisioner.commands.apply import apply
from provisioner.commands.manifests import manifests_for, once_per_rules
from provisioner.commands.run import Order, Run, policy_of
from provisioner.commands.validate import Validation
from provisioner.config.settings import Settings
from provisioner.emulator import DEFAULT_ACCOUNT, Behaviour, credentials, running
from provisioner.errors import ConfigurationError
from tests.aws.conftest import _aws_environment, _shared_models, service_models
from tests.definition_lines import ROLE, lines_of, named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioner.report.summary import Summary

__all__ = ["_aws_environment", "_shared_models", "service_models"]

TARGETS = {
    "us": {"region": "us-east-1", "account_id": DEFAULT_ACCOUNT, "tags": {"env": "prod"}, "vars": {"color": "red"}},
    "eu": {"region": "eu-west-1", "account_id": DEFAULT_ACCOUNT, "vars": {"color": "red"}},
}


def settings_of(folder: Path, **more: Any) -> Settings:
    """Two targets, and more tables."""
    tables = {"run": {"ledger": str(folder / "l.db")}, "targets": TARGETS, **more}
    return Settings.from_tables(msgspec.json.decode(msgspec.json.encode(tables)))


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Applies a manifest in the two targets, with more tables of the configuration."""
    for name, value in credentials(DEFAULT_ACCOUNT).environment().items():
        monkeypatch.setenv(name, value)
    with running(Behaviour()) as emulator:

        async def run(data: bytes, **tables: Any) -> Summary:
            (tmp_path / "m.jsonl").write_bytes(data)
            settings = settings_of(tmp_path, **tables).with_endpoint(emulator.url, sts_endpoint_url=emulator.url)
            order = Order(
                sources=(str(tmp_path / "m.jsonl"),),
                settings=settings,
                targets=settings.select(()),
                policy=policy_of(settings),
                yes=True,
            )
            return await apply(Run(order))

        yield run


def outcomes(summary: Summary) -> dict[str, dict[str, int]]:
    """The outcomes of each target that are not 0."""
    return {
        name: {outcome: number for outcome, number in target.outcomes.items() if number}
        for name, target in summary.targets.items()
    }


async def test_a_definition_is_registered_in_its_targets_alone(go: Callable[..., Any]) -> None:
    """Every line counts once; a finished manifest is known as such; a target that a line no longer names is pruned."""
    data = lines_of(named("a"), named("b", targets=["tag:env"]), named("b", targets=["eu"], description="other"))
    first, second = await go(data), await go(data)
    third = await go(lines_of(named("a"), named("b", targets=["eu"], description="other")), lifecycle={"prune": True})

    assert outcomes(first) == {"us": {"created": 2}, "eu": {"created": 2}}
    assert (first.manifest.lines, first.manifest.valid, first.exit_code) == (3, 3, 0)
    assert outcomes(second) == {"us": {"unchanged": 2}, "eu": {"unchanged": 2}}
    assert second.calls["list"] == 0
    assert (third.exit_code, third.pruned) == (0, 1)


async def test_a_pattern_without_a_target_prunes_nothing(go: Callable[..., Any]) -> None:
    """A mistyped pattern looks as if its definition had left every target."""
    await go(lines_of(named("a"), named("b", targets=["us"])))
    summary = await go(lines_of(named("a"), named("b", targets=["su"])), lifecycle={"prune": True})

    assert (summary.exit_code, summary.pruned) == (65, 0)
    assert {one.code for one in summary.problems} == {"unknown_target", "prune_refused"}


async def test_a_target_whose_tags_have_changed_prunes_later(go: Callable[..., Any]) -> None:
    """Tags that a source has lost look as if definitions had left it; where no line names targets they don't."""
    prune = {"lifecycle": {"prune": True}}
    data = lines_of(named("a"), named("b", targets=["tag:env=prod"]))
    first = await go(data, **prune)
    lost = {"us": {**TARGETS["us"], "tags": {}}, "eu": {**TARGETS["eu"], "tags": {"env": "prod"}}}
    second = await go(data, **prune, targets=lost)
    third = await go(data, **prune, targets=lost)
    fourth = await go(lines_of(named("a")), **prune)

    assert [(one.exit_code, one.pruned) for one in (first, second, third, fourth)] == [(0, 0), (3, 0), (0, 1), (0, 1)]
    assert [(one.code, "tags of the target" in one.message) for one in second.problems] == [("prune_refused", True)]


async def test_templates_make_each_target_its_own_definition(go: Callable[..., Any]) -> None:
    """A changed variable may rename everything, so that the run that meets it prunes nothing, and the next one does."""
    on = {"defaults": {"templates": True, "roleArn": "arn:{partition}:iam::{account_id}:role/x"}}
    prune = {**on, "lifecycle": {"prune": True}}
    line = b'{"name":"{target} {color}"}\n'
    first = await go(line, **prune)
    blue = {name: {**target, "vars": {"color": "blue"}} for name, target in TARGETS.items()}
    second = await go(line, **prune, targets=blue)
    third = await go(line, **prune, targets=blue)

    assert (first.exit_code, outcomes(first)) == (0, {"us": {"created": 1}, "eu": {"created": 1}})
    assert (second.exit_code, second.pruned, outcomes(second)["us"]) == (3, 0, {"created": 1})
    assert [one.code for one in second.problems] == ["prune_refused"] * 2
    assert (third.exit_code, third.pruned) == (0, 2)


def test_a_targets_defaults_lie_over_the_general_ones(tmp_path: Path) -> None:
    """The defaults of a target override the general ones."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(lines_of(named("a")))
    targets = {"a": {"defaults": {"tags": {"team": "ads"}}}}
    general = {"roleArn": ROLE, "tags": {"team": "all", "env": "prod"}}
    settings = settings_of(tmp_path, targets=targets, defaults=general)

    rules = manifests_for([str(path)], settings, settings.select(()))["a"].rules

    assert rules.defaults == {"roleArn": ROLE, "tags": {"team": "ads", "env": "prod"}}


def test_targets_with_the_same_rules_are_read_once(tmp_path: Path) -> None:
    """Lines for some targets do not make rules differ; templates do, because their values may."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(lines_of(named("a", targets=["us"]), named("a", targets=["eu"], description="x")))
    for tables, readings in (({}, 1), ({"defaults": {"templates": True}}, 2)):
        settings = settings_of(tmp_path, **tables)
        manifests = manifests_for([str(path)], settings, settings.select(()))
        validation = Validation([str(path)], settings, settings.select(()))

        assert list(validation) == []
        assert len(once_per_rules(manifests)) == len(validation.counts) == readings


def test_validate_fills_templates_for_every_target(tmp_path: Path) -> None:
    """What one target lacks is a problem of that target."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(lines_of({"name": "{shade}", "roleArn": ROLE}))
    targets = {**TARGETS, "us": {**TARGETS["us"], "vars": {"shade": "dark"}}}
    settings = settings_of(tmp_path, targets=targets, defaults={"templates": True})

    (problem,) = Validation([str(path)], settings, settings.select(()))

    assert (problem.target, problem.code, problem.column) == ("eu", "template", 10)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"defaults": {"templates": True, "tags": {"a": "{colour}"}}},
            (
                "[defaults] for target us: {colour} is unknown to this target; write {{ for a literal brace. "
                "Did you mean color?"
            ),
        ),
        (
            {"defaults": {"templates": True}, "targets": {"us": {"defaults": {"description": "}"}}}},
            "[targets.us.defaults]: a single } is not a template; write }} for a literal brace",
        ),
        ({"defaults": {"templates": "yes"}}, "the settings: defaults.templates must be true or false"),
    ],
)
def test_templates_of_defaults_are_checked_before_anything_else(
    tmp_path: Path, tables: dict[str, Any], message: str
) -> None:
    """A mistake in the configuration is one message about it, not one for every line."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(lines_of(named("a")))

    def read() -> None:
        settings = settings_of(tmp_path, **tables)
        manifests_for([str(path)], settings, settings.select(()))

    with pytest.raises(ConfigurationError) as caught:
        read()

    assert str(caught.value) == message
