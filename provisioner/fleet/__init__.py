"""Targets side by side: one engine each, one ledger, one stop."""

from provisioner.fleet.run import Order, Run, apply

__all__ = ["Order", "Run", "apply"]
