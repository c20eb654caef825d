"""``--local``: the embedded endpoint in this process, with its accounts in a file beside the ledger.

Every account exists there and any role can be assumed, so account guards and roles work as on AWS: targets in different
accounts stay apart, and a role outside the guarded account is refused. Profiles are ignored.
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import click
import msgspec

from provisioner.cli.program import current
from provisioner.config.tables import struct_of
from provisioner.core.objects import is_object
from provisioner.errors import UsageError
from provisioner.ledger.location import locate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from provisioner.config.settings import Settings
    from provisioner.config.target import Target
    from provisioner.emulator import Emulator

REGION = "us-east-1"
RATE = {"rate": 20.0, "burst": 20.0, "latency": 0.05}
"""The default behaviour of the embedded endpoint, which ``[local]`` overrides: an account with a limit to find."""


@asynccontextmanager
async def local_endpoint(settings: Settings, config: str | None) -> AsyncIterator[Settings]:
    """Run the embedded endpoint; yields ``settings`` with every target using it.

    Args:
        settings: of the command.
        config: the file that the settings come from, for messages.

    Raises:
        ConfigurationError: a switch in ``[local]`` is wrong.
        LedgerLockedError: another run uses the embedded endpoint beside this ledger.
        LedgerError: the state file cannot be used.
        UsageError: the command names an object in S3.
    """
    _refuse_objects()
    from provisioner.emulator import DEFAULT_ACCOUNT, Behaviour, Emulator, credentials

    behaviour = struct_of({**RATE, **settings.local}, Behaviour, config or "", "local")
    state = locate(settings.run.ledger).local_state
    # A file that cannot be looked up is none here: the endpoint cannot open it either, and says why.
    known = await anyio.to_thread.run_sync(os.path.exists, state)
    async with AsyncExitStack() as stack:
        emulator = Emulator(behaviour, state_file=state)
        async with AsyncExitStack() as opening:
            await opening.enter_async_context(emulator)
            if not known:
                # Runs after the endpoint has closed the file, so that a failed start leaves none.
                stack.push_async_callback(_discard_unused, emulator, state)
            stack.push_async_exit(opening.pop_all())
        _replace_environment(credentials(DEFAULT_ACCOUNT).environment())
        targets = {
            name: msgspec.structs.replace(
                target,
                region=target.region or REGION,
                profile="",
                assume_role_arn=target.assume_role_arn or _role_in(target.account_id),
                endpoint_url=emulator.url,
                sts_endpoint_url=emulator.url,
                tagging_endpoint_url=emulator.url,
            )
            for name, target in settings.targets.items()
        }
        yield msgspec.structs.replace(settings, targets=targets)


def _refuse_objects() -> None:
    """Make sure that nothing in S3 is named: the variables that lead there are replaced, see below.

    Raises:
        UsageError: something is.
    """
    given = click.get_current_context().params
    names = [*(given.get("manifest") or ()), given.get("plan"), given.get("out"), current().unattended.summary_file]
    for name in names:
        if name is not None and is_object(name):
            hint = f"Leave out --local, or copy it: `aws s3 cp {name} .`"
            raise UsageError("--local calls nothing but the embedded endpoint, so not S3", where=name, hint=hint)


def _replace_environment(keys: dict[str, str]) -> None:
    """Replace all variables of the SDK by ``keys``: no variable, file or proxy that is meant for AWS applies here.

    The SDK reads more than fifty variables, and the files that some of them name; any of them may be broken or point
    elsewhere. This process calls the embedded endpoint and nothing else.
    """
    for name in list(os.environ):
        if name.startswith("AWS_") or name == "REQUESTS_CA_BUNDLE":
            del os.environ[name]
    files = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    os.environ.update(keys | files | {"no_proxy": "*"})


async def _discard_unused(emulator: Emulator, state: Path) -> None:
    if not emulator.truth.count("create"):
        await anyio.Path(state).unlink(missing_ok=True)


def _role_in(account_id: str) -> str:
    """The ARN of a role that leads to ``account_id``; "" for the account of the endpoint's own credentials."""
    return f"arn:aws:iam::{account_id}:role/local" if account_id else ""


def warn_of_profiles(targets: Iterable[Target]) -> None:
    """Warn of targets with a profile, because ``--local`` ignores profiles."""
    from provisioner.logger import log

    if named := [target.name for target in targets if target.profile]:
        log.warning("profiles.ignored", targets=named, why="--local brings its own credentials")
