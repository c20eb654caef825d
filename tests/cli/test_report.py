"""``apply --report``: what becomes of a page for which no time is left."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from provisioner.cli.report import WRITTEN_BY_S, reporting
from provisioner.commands.run import Order, Run, policy_of
from provisioner.config.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from provisioner.report.summary import Summary


async def test_a_page_never_outlasts_the_time_after_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left to `provisioner report`, which the summary names, and the exit code is that of a stopped run."""
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    run = Run(Order(sources=(), settings=settings, targets=(), policy=policy_of(settings)))

    async def work(run: Run) -> Summary:
        run.stop.request("signal SIGTERM")
        run.stop._requested_at -= WRITTEN_BY_S
        return run.summary()

    summary = await reporting(work, "r.html", run)

    assert summary.exit_code == 75
    assert summary.error
    assert "r.html: the page about the run was not ready in the time left after the request to stop" in summary.error
    assert f"`provisioner report {run.run_id} --out FILE` writes it" in summary.error
    assert os.listdir(tmp_path) == []  # noqa: PTH208  not of a Path, which blocks the event loop
