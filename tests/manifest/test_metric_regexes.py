"""Metric regexes: compiled under a time limit, and only warned about."""

from __future__ import annotations

import subprocess
import sys

from provisioner.manifest.metric_regexes import RegexCheck
from provisioner.manifest.parser import Rules, parse
from provisioner.manifest.reader import Row
from tests.definition_lines import FULL, LEAST, changed, line_of

SLOW = "(?i)" + "[!-\U0010ffff]" * 90
"""Takes Python's compiler some 0.6 s: case folding of a large class, ninety times."""


def row(*regexes: str) -> Row:
    """A valid line with these metric regexes."""
    metrics = [{"name": f"m{number}", "regex": regex} for number, regex in enumerate(regexes)]
    definition = parse(line_of(changed("trainingContainerConfig.metricDefinitions", metrics)), Rules())
    return Row("m.jsonl", 3, definition, definition.canonical())


def test_what_compiles_is_fine() -> None:
    """A regex that compiles has no notice, and a definition without metrics neither."""
    bare = parse(line_of(LEAST), Rules())
    with RegexCheck() as check:
        assert check.notices([row("loss: ([0-9.]+)", FULL["name"]), row(), Row("m", 1, bare, bare.canonical())]) == []


def test_what_does_not_compile_is_a_notice() -> None:
    """A regex that does not compile is a notice with its place and the reason, once for each line that has it."""
    with RegexCheck() as check:
        notices = check.notices([row("ok", "("), row("(")])

    assert [(n.source, n.line, n.code, n.severity) for n in notices] == [("m.jsonl", 3, "metric_regex", "notice")] * 2
    assert "metricDefinitions[1].regex" in notices[0].message
    assert "missing ), unterminated subpattern" in notices[0].message


def test_a_regex_that_takes_too_long() -> None:
    """A regex that keeps the compiler busy is a notice after the limit, and the next ones are still compiled."""
    with RegexCheck(limit_s=0.01) as check:
        (slow,) = check.notices([row(SLOW)])
        check._limit_s = 60.0
        (wrong,) = check.notices([row("[", "fine")])

    assert "takes more than 0.01 s" in slow.message
    assert "metricDefinitions[0]" in wrong.message
    assert wrong.message.endswith("unterminated character set at position 0")


def test_a_lower_limit_on_memory_stays() -> None:
    """Where the process may use less memory than a regex, regexes are compiled under that limit."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20));"
        "from provisioner.manifest.metric_regexes import RegexCheck; check = RegexCheck();"
        "print([check._check('('), check._check('fine')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr == ""
    assert done.stdout == "['missing ), unterminated subpattern at position 0', '']\n"
