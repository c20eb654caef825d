"""``--local``: the embedded endpoint in this process, with its accounts in a file beside the ledger.

Every account exists there and any role can be assumed, so account guards and roles mean what they mean on AWS: several
accounts do not become one, and a role of another account than the guard's is refused. Profiles mean nothing there.
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from provisioner.config.tables import struct_of
from provisioner.errors import LedgerError, LedgerLockedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from provisioner.config.settings import Settings, Target

REGION = "us-east-1"
RATE = {"rate": 20.0, "burst": 20.0, "latency": 0.05}
"""What the embedded endpoint does when the configuration does not say: a limit that it does not tell."""


@asynccontextmanager
async def local_endpoint(settings: Settings, config: str | None) -> AsyncIterator[Settings]:
    """Run the embedded endpoint; yields settings whose targets all lie there.

    Args:
        settings: what the command is asked for.
        config: the file that they come from.

    Raises:
        ConfigurationError: ``[local]`` has a wrong switch.
        LedgerLockedError: another run uses the embedded endpoint beside this ledger.
        LedgerError: the state file cannot be used.
    """
    from provisioner.emulator import DEFAULT_ACCOUNT, Behaviour, Emulator, credentials
    from provisioner.emulator.store import StateFileBusyError, StateFileError

    behaviour = struct_of({**RATE, **settings.local}, Behaviour, config or "", "local")
    state = Path(f"{settings.run.ledger}.local")
    async with AsyncExitStack() as stack:
        try:
            emulator = await stack.enter_async_context(Emulator(behaviour, state_file=state))
        except StateFileBusyError as error:
            raise LedgerLockedError(str(error)) from error
        except StateFileError as error:
            raise LedgerError(str(error)) from error
        os.environ.pop("AWS_PROFILE", None)
        os.environ.pop("AWS_SESSION_TOKEN", None)
        os.environ.update(credentials(DEFAULT_ACCOUNT).environment())
        os.environ["no_proxy"] = "*"  # no proxy leads to this machine, and nothing else is called
        targets = {
            name: msgspec.structs.replace(
                target,
                region=target.region or REGION,
                profile="",
                assume_role_arn=target.assume_role_arn or _role_in(target.account_id),
                endpoint_url=emulator.url,
                sts_endpoint_url=emulator.url,
            )
            for name, target in settings.targets.items()
        }
        yield msgspec.structs.replace(settings, targets=targets)


def _role_in(account_id: str) -> str:
    """A role that leads into an account, "" for the account that the embedded endpoint's credentials are of."""
    return f"arn:aws:iam::{account_id}:role/local" if account_id else ""


def tell_ignored(targets: Iterable[Target]) -> None:
    """Log whose profiles are not used."""
    import structlog

    if named := [target.name for target in targets if target.profile]:
        structlog.get_logger().warning("profiles.ignored", targets=named, why="--local brings its own credentials")
