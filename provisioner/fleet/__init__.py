"""Targets side by side: one engine each, one ledger, one stop."""

from provisioner.fleet.apply import apply
from provisioner.fleet.run import Order, Run
from provisioner.fleet.upkeep import Finding, codes_of, rebuild, reconcile, verify, with_findings

__all__ = ["Finding", "Order", "Run", "apply", "codes_of", "rebuild", "reconcile", "verify", "with_findings"]
