"""The options of ``apply`` and ``plan``, and what they make of the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from provisioner.cli.apply import ApplyOptions
from provisioner.cli.rebuild import RebuildOptions
from provisioner.cli.rebuild import command as rebuild
from provisioner.cli.reconcile import ReconcileOptions
from provisioner.cli.reconcile import command as reconcile
from provisioner.cli.verify import VerifyOptions
from provisioner.cli.verify import command as verify
from provisioner.config.settings import LifecycleSettings, Settings
from provisioner.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    import click

    from provisioner.cli.running import Options


def options(**given: Any) -> ApplyOptions:
    """The options, as click parses a command line that has none but ``given``."""
    plain: dict[str, Any] = dict.fromkeys(ApplyOptions.__struct_fields__)
    common = {"targets": (), "names": (), "states": (), "local": False, "lock_timeout": "0s", "no_wait": False}
    return ApplyOptions(**(plain | common | {"manifest": ("m.jsonl",)} | given))


@pytest.mark.parametrize(
    ("given", "file", "error", "what"),
    [
        ((1, "delete-first"), (0, "create-first"), UsageError, "--keep and --replace-order delete-first"),
        ((1, None), (0, "delete-first"), UsageError, "--keep and `replace_order` in the configuration"),
        ((None, "delete-first"), (1, "create-first"), UsageError, "`keep` in the configuration and --replace-order"),
        ((None, None), (1, "delete-first"), ConfigurationError, "`keep` and `replace_order = delete-first`"),
        ((0, None), (1, "delete-first"), None, ""),
        ((None, "create-first"), (1, "delete-first"), None, ""),
    ],
)
def test_keep_and_delete_first_contradict_each_other(
    given: tuple[int | None, str | None], file: tuple[int, Any], error: type[Exception] | None, what: str
) -> None:
    """With an option it is wrong usage, which names the options; 78 is for what the file alone says."""
    chosen = options(keep=given[0], replace_order=given[1])
    settings = Settings(lifecycle=LifecycleSettings(keep=file[0], replace_order=file[1]))
    settings = settings.override("lifecycle", keep=given[0], replace_order=given[1])

    if error is None:
        chosen.order(settings)
        return
    with pytest.raises(error, match="contradict each other") as raised:
        chosen.order(settings)
    assert what in str(raised.value)


@pytest.mark.parametrize(
    ("command", "struct"), [(verify, VerifyOptions), (reconcile, ReconcileOptions), (rebuild, RebuildOptions)]
)
def test_what_needs_the_lease_can_wait_for_another_run(command: click.Command, struct: type[Options]) -> None:
    """Such commands take --lock-timeout, as apply does."""
    plain: dict[str, Any] = dict.fromkeys(struct.__struct_fields__)
    given = plain | {"names": (), "states": (), "targets": (), "local": False, "findings": []}
    values = {name: value for name, value in given.items() if name in struct.__struct_fields__}

    order = struct(**values | {"lock_timeout": "2m"}).order(Settings())

    assert order.lock_timeout_s == 120
    assert "lock_timeout" in {parameter.name for parameter in command.params}
