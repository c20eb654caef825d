"""Processes of their own that have the campaigns' modules loaded, and no threads: they may fork, and may die."""

from __future__ import annotations

from multiprocessing import get_context

LOADED = get_context("forkserver")
"""Starts them, in a tenth of the time that an interpreter takes to load the modules."""
LOADED.set_forkserver_preload(["tests.faults.crash", "tests.faults.crash_commands"])
