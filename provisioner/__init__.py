"""Registers many AWS Clean Rooms ML algorithms: none lost, none twice, at the account's hidden rate limit.

The Python API, described in docs/api.md. Each name loads what it needs when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioner.api import Ledger, Rules, Verification, apply, plan, validate, verify
    from provisioner.commands.validate import Validation
    from provisioner.commands.verify import Finding
    from provisioner.config.settings import Settings
    from provisioner.core.entry import Entry, State
    from provisioner.core.problem import Problem
    from provisioner.core.selection import Selection
    from provisioner.errors import ProvisionerError
    from provisioner.manifest.definition import (
        ContainerConfig,
        Definition,
        InferenceContainerConfig,
        MetricDefinition,
    )
    from provisioner.report.plan import Plan, PlanStep
    from provisioner.report.summary import Summary

__version__ = "0.1.0"

__all__ = [
    "ContainerConfig",
    "Definition",
    "Entry",
    "Finding",
    "InferenceContainerConfig",
    "Ledger",
    "MetricDefinition",
    "Plan",
    "PlanStep",
    "Problem",
    "ProvisionerError",
    "Rules",
    "Selection",
    "Settings",
    "State",
    "Summary",
    "Validation",
    "Verification",
    "apply",
    "plan",
    "validate",
    "verify",
]

_HOMES = {
    "ContainerConfig": "manifest.definition",
    "Definition": "manifest.definition",
    "Entry": "core.entry",
    "Finding": "commands.verify",
    "InferenceContainerConfig": "manifest.definition",
    "Ledger": "api",
    "MetricDefinition": "manifest.definition",
    "Plan": "report.plan",
    "PlanStep": "report.plan",
    "Problem": "core.problem",
    "ProvisionerError": "errors",
    "Rules": "api",
    "Selection": "core.selection",
    "Settings": "config.settings",
    "State": "core.entry",
    "Summary": "report.summary",
    "Validation": "commands.validate",
    "Verification": "api",
    "apply": "api",
    "plan": "api",
    "validate": "api",
    "verify": "api",
}


if not TYPE_CHECKING:  # to a type checker, a module with this function has every name, misspelt ones too

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
