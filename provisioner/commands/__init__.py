"""What each command does with ledger, targets and engine: the command line and the Python API call these."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provisioner.commands.apply import apply
    from provisioner.commands.rebuild import rebuild
    from provisioner.commands.reconcile import reconcile
    from provisioner.commands.run import Order, Run
    from provisioner.commands.verify import Finding, verify, with_findings

_HOMES = {
    "Finding": "verify",
    "Order": "run",
    "Run": "run",
    "apply": "apply",
    "rebuild": "rebuild",
    "reconcile": "reconcile",
    "verify": "verify",
    "with_findings": "verify",
}
__all__ = ["Finding", "Order", "Run", "apply", "rebuild", "reconcile", "verify", "with_findings"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  a module's attributes
    """Load what is asked for when it is asked for: the help of a command needs none of it."""
    if name not in _HOMES:
        raise AttributeError(name)
    value = getattr(import_module(f"provisioner.commands.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
