"""Targets side by side: one engine each, one ledger, one stop."""

from provisioner.fleet.apply import apply
from provisioner.fleet.run import Order, Run

__all__ = ["Order", "Run", "apply"]
