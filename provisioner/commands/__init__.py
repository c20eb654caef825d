"""What each command does with ledger, targets and engine: the command line and the Python API call these."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provisioner.commands.apply import apply
    from provisioner.commands.run import Order, Run
    from provisioner.commands.upkeep import Finding, reasons_of, rebuild, reconcile, verify, with_findings

__all__ = ["Finding", "Order", "Run", "apply", "reasons_of", "rebuild", "reconcile", "verify", "with_findings"]

_HOME = {"apply": "apply", "Order": "run", "Run": "run"}


def __getattr__(name: str) -> Any:  # noqa: ANN401  a module's attributes
    """Load what is asked for when it is asked for: the help of a command needs none of it."""
    if name not in __all__:
        raise AttributeError(name)
    value = getattr(import_module(f"provisioner.commands.{_HOME.get(name, 'upkeep')}"), name)
    globals()[name] = value
    return value
