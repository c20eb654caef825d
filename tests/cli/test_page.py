"""How a result for people is laid out on a terminal."""

from __future__ import annotations

import re

import pytest

from provisioner.cli.page import colored, laid_out

LONG = "/a/very/long/path/of/a/ledger/that/does/not/fit/into/a/narrow/terminal.db"


@pytest.mark.parametrize(
    ("width", "text", "shown"),
    [
        (80, "exit      0: done", ["exit      0: done"]),
        (82, f"ledger    {LONG}", [f"ledger    {LONG}"]),
        (40, f"ledger    {LONG} x", [f"ledger    {LONG}", "    x"]),
        (
            60,
            "halted    west: the credentials have expired. Renew them, then run again",
            ["halted    west: the credentials have expired. Renew them,", "          then run again"],
        ),
        (
            60,
            "unregistered west: x: m.jsonl:3: it is not registered; `apply` registers it",
            ["unregistered west: x: m.jsonl:3: it is not registered;", "          `apply` registers it"],
        ),
        (
            40,
            "halted    west: the credentials have expired. Renew them",
            ["halted    west: the credentials have", "    expired. Renew them"],
        ),
        (
            40,
            "  x.jsonl:2: one: not closed, and so it is no JSON",
            ["  x.jsonl:2: one: not closed, and so it", "    is no JSON"],
        ),
        (
            54,
            "  a, b and 9997 more: `provisioner list --code ValidationException` lists them",
            ["  a, b and 9997 more:", "    `provisioner list --code ValidationException`", "    lists them"],
        ),
        (
            30,
            f"next      1 failed: provisioner list --ledger {LONG}",
            [f"next      1 failed: provisioner list --ledger {LONG}"],
        ),
        (20, "  名前名前名前名前 名前", ["  名前名前名前名前", "    名前"]),
        (40, "", [""]),
    ],
    ids=[
        "fits",
        "a long word",
        "a longer word",
        "label",
        "long label",
        "narrow",
        "indented",
        "command",
        "next",
        "wide",
        "empty",
    ],
)
def test_long_lines_continue_below_their_beginning(width: int, text: str, shown: list[str]) -> None:
    """Words and commands stay whole, because somebody may copy them; what is longer than a line, the terminal wraps."""
    assert laid_out(text, width).split("\n") == shown


def test_colors_change_no_character() -> None:
    """What is wrong has a color; without the escape sequences, the text is what it was."""
    text = "ledger    x\nproblems  1\n  [bold]x[/bold]: `a`\nexit      3: look\nnext      1 failed: provisioner list"

    painted = colored(text)
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == text
    assert painted.count("\x1b[") == 2 * 3
    assert colored("exit      0: done") != colored("exit      3: look").replace("3: look", "0: done")
