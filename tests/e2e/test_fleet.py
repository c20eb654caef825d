"""A fleet through the real process: canaries, targets that were left out, and twelve accounts at once."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from tests.definition_lines import numbered
from tests.e2e.process import Endpoint, provisioner

if TYPE_CHECKING:
    from pathlib import Path

TARGETS = 12


def configure(folder: Path, endpoint: Endpoint, first_account: str = "") -> None:
    """Twelve targets, each a role in an account of its own; the first one expects ``first_account``."""
    tables = [
        f"[targets.t{number:02d}]\nregion = 'us-east-1'\nendpoint_url = '{endpoint.url}'\n"
        f"sts_endpoint_url = '{endpoint.url}'\n"
        f"assume_role_arn = 'arn:aws:iam::{100_000_000_000 + number}:role/provisioner'\n"
        for number in range(TARGETS)
    ]
    tables[0] += f"account_id = '{first_account}'\n"
    (folder / "c.toml").write_text("[fleet]\ncanary = 2\n" + "".join(tables))


def test_a_canary_that_fails_keeps_the_rest_from_beginning(tmp_path: Path, endpoint: Endpoint) -> None:
    """People read which target failed and why, and in one line which ones were left out; the next run does them all."""
    (tmp_path / "m.jsonl").write_bytes(numbered(3))
    configure(tmp_path, endpoint, first_account="999999999999")

    failed = provisioner("apply", "m.jsonl", "-c", "c.toml", cwd=tmp_path)
    configure(tmp_path, endpoint)
    done = provisioner("apply", "m.jsonl", "-c", "c.toml", "--output", "json", cwd=tmp_path)

    lines = failed.stdout.splitlines()
    assert failed.returncode == 77, failed.stdout
    assert "targets   12: 1 unopened, 10 not begun, 1 done" in lines
    assert any(line.startswith("    unopened: this is the wrong account") for line in lines)
    assert any(line.startswith("    not begun: 1 of 2 canary targets failed") for line in lines)
    assert sum("not begun" in line for line in lines) == 2
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["outcomes"]["created"] + summary["outcomes"]["unchanged"] == 3 * TARGETS
    made = Counter(algorithm["account_id"] for algorithm in endpoint.truth()["algorithms"])
    assert made == {f"{100_000_000_000 + number}": 3 for number in range(TARGETS)}
