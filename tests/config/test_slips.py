"""What a configuration that is not TOML is answered with."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from provisioner.config.settings import Settings
from provisioner.config.slips import Slip, slip
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def found(text: str) -> Slip | None:
    """The slip in ``text``, which is not TOML."""
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    return slip(text, str(caught.value))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("08:00 = 0.3", 'Write "08:00" = 0.3'),
        ("08:00: 0.3", 'Write "08:00" = 0.3'),
        ("region = us-east-1 # mine", 'Write region = "us-east-1"  # mine'),
        ("deadline = 55m", 'Write deadline = "55m"'),
        ("account_id = 012345678901", 'Write account_id = "012345678901"'),
        ("max_failed_targets = 5%", 'Write max_failed_targets = "5%"'),
        ("sources = [accounts.csv, 'b.csv']", "Write sources = [\"accounts.csv\", 'b.csv']"),
        ("regions = [\n  us-east-1,\n]", 'Write "us-east-1",'),
        ("prune = True", "Write prune = true"),
        ("share = .5", "Write share = 0.5"),
        ("share = 0,5", "Write share = 0.5"),
        (r'ledger = "C:\Users\me"', r"Write ledger = 'C:\Users\me'"),
        (r"ledger = C:\Users\me", r"Write ledger = 'C:\Users\me'"),
        ('ledger = "a.db', 'Write ledger = "a.db"'),
        ("ledger = \u201ca.db\u201d", 'Write ledger = "a.db"'),
        ("ledger: a.db", 'Write ledger = "a.db"'),
        ("ledger =", "Write one, or remove the line"),
        ("ledger = None", "Write one, or remove the line"),
        ("[run", "Write [run]"),
        ("[run]]", "Write [run]"),
        ("[targets.my prod]", 'Write [targets."my prod"]'),
        ("run:", "Write [run]"),
        ("// mine", "Write # mine"),
        ('{"run": {}}', "`provisioner config init FILE` writes a configuration to begin with"),
    ],
)
def test_a_slip_is_answered_with_what_to_type(text: str, hint: str) -> None:
    """What the parser says of it is about its grammar; the answer is about the line."""
    slip = found(text)

    assert slip is not None
    assert slip.hint == hint
    assert slip.why


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("[run]\nledger='a'\n[pace]\n[ run ] # again\n", (4, "the table [run] is already on line 1")),
        ("[run]\nkeep=1\n[pace]\nshare=1\n\nshare = 2", (6, "the key share is already on line 4")),
    ],
)
def test_what_is_there_twice_is_named_with_both_lines(text: str, answer: tuple[int, str]) -> None:
    """A repeated table or key says where it is already."""
    slip = found(text)

    assert slip is not None
    assert (slip.line, slip.why) == answer


@pytest.mark.parametrize("text", ['a = "1" 2', "x = [", "a.b = 1\n[a]\nb = 2\n", "= 1", 'x = "a" "b\'', """ '" """])
def test_what_is_not_known_is_left_to_the_parser(text: str) -> None:
    """No guess is better than one that is no TOML either."""
    assert found(text) is None


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("postgresql://me:se-cret@db/x?password=secret", "postgresql://"),
        ("postgresql:/me:se-cret@db/x", "postgresql:/"),
        ("host=db password=se-cret", "host=db password="),
    ],
)
def test_a_password_is_not_repeated(tmp_path: Path, written: str, shown: str) -> None:
    """The line of a ledger's URL is shown without what follows its scheme, or the word password."""
    path = tmp_path / "p.toml"
    path.write_text(f"[run]\nledger = {written}\n")

    with pytest.raises(ConfigurationError) as caught:
        Settings.load(path)

    said = f'{path}:2: the configuration is not valid TOML: text must be in quotes. Write ledger = "{shown}..."'
    assert str(caught.value) == said
