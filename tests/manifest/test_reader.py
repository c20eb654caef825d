"""Manifests: which lines become rows, what is reported about the others, and in how much memory."""

from __future__ import annotations

import gzip
import io
import json
import random
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.core.names import folded
from provisioner.errors import ManifestError, Reason
from provisioner.manifest.audience import Audience, Known
from provisioner.manifest.fingerprint import Fingerprint
from provisioner.manifest.lines import MAX_LINE
from provisioner.manifest.parser import Rules, parse
from provisioner.manifest.reader import BATCH_BYTES, Batch, Manifest, Row
from provisioner.manifest.sources import ScratchError
from tests.definition_lines import FULL, IMAGE, LEAST, ROLE, line_of, lines_of, mutate, named, spell
from tests.memory import peak_mib

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.core.problem import Problem

RULES = Rules(ownership_tag="provisioner:origin")


def manifest(data: bytes, rules: Rules = RULES) -> Manifest:
    """A manifest on standard input."""
    return Manifest(["-"], rules, stdin=io.BytesIO(data))


def read(whole: Manifest, size: int = 512) -> tuple[list[Row], list[Problem], Batch]:
    """All rows, all problems, and the sums of the batches."""
    total = Batch([], [])
    for batch in whole.batches(size):
        total.rows += batch.rows
        total.problems += batch.problems
        total.lines += batch.lines
        total.invalid += batch.invalid
        total.repeated += batch.repeated
        total.elsewhere += batch.elsewhere
        total.read_bytes = batch.read_bytes
    return total.rows, total.problems, total


def test_rows_tell_where_they_stand() -> None:
    """Each valid line is a row with its source, line and digests; blank lines are skipped."""
    rows, problems, total = read(manifest(b"\n" + lines_of(FULL) + b"  \r\n\n" + line_of(LEAST)))
    full, least = rows

    assert (full.source, full.line, least.line) == ("-", 2, 5)
    assert full.definition == parse(line_of(FULL), RULES)
    assert full.canonical == full.definition.canonical()
    assert not problems
    assert (total.lines, total.invalid, total.repeated) == (2, 0, 0)


def test_a_problem_stops_no_neighbour() -> None:
    """Invalid lines are problems with source, line, column and name; all others are rows."""
    rows, problems, total = read(manifest(lines_of(named("a"), named("b", kmsKeyArn=1, x=2), "c", named("d"))))

    assert [row.definition.name for row in rows] == ["a", "d"]
    assert [(p.source, p.line, p.column, p.name, p.code) for p in problems] == [
        ("-", 2, 80, "b", "wrong_type"),
        ("-", 2, 83, "b", "unknown_field"),
        ("-", 3, 1, "", "wrong_type"),
    ]
    assert (total.lines, total.invalid) == (4, 2)


def test_a_problem_as_text() -> None:
    """A problem reads source:line:column, name, place, what, why and what to do."""
    data = line_of(named("x", trainingContainerConfig={"imageUri": IMAGE, "arguments": []}))
    (problem,) = read(manifest(data))[1]

    assert str(problem) == (
        '-:1:178: name "x": trainingContainerConfig.arguments: must not be an empty list; leave the field out'
    )


def test_what_is_printed_is_escaped(tmp_path: Path) -> None:
    """No escape sequence of a file's name, a name or a value reaches the text of a problem."""
    path = tmp_path / "\x1b]0;pwned\x07.jsonl"
    hostile = "\x1b[31m\u202e"
    path.write_bytes(
        lines_of(named(hostile, **{hostile: hostile}), named("ok"), named("ok"), named("ok", kmsKeyArn=""))
    )
    problems = read(Manifest([str(path)], RULES))[1]

    assert len(problems) == 4
    assert all(str(problem).isprintable() for problem in problems)


HOSTILE = [
    (b'{"name":"' + b"x" * MAX_LINE + b'"}', "line_too_long"),
    (b'{"name":"x","roleArn":"' + ROLE.encode() + b'","x":' + b"[" * 99_999, "too_deep"),
    (b'{"name":"x","name":"y","roleArn":"' + ROLE.encode() + b'"}', "repeated_key"),
    (b'{"name":NaN,"roleArn":"' + ROLE.encode() + b'"}', "invalid_json"),
    (b'{"name":Infinity,"roleArn":"' + ROLE.encode() + b'"}', "invalid_json"),
    (b'{"name":"\xc3\x28","roleArn":"' + ROLE.encode() + b'"}', "not_utf8"),
    (b'{"name":"\\udfff","roleArn":"' + ROLE.encode() + b'"}', "lone_surrogate"),
    (b'{"name":"\\u0000","roleArn":"' + ROLE.encode() + b'"}', "control_character"),
    (b'{"name":"\x00","roleArn":"' + ROLE.encode() + b'"}', "control_character"),
    (b'{"name":"\x1b[31m","roleArn":"' + ROLE.encode() + b'"}', "control_character"),
    (b'\xef\xbb\xbf{"name":"x","roleArn":"' + ROLE.encode() + b'"}', "byte_order_mark"),
    (b'{"name":"x","roleArn":"' + ROLE.encode() + b'","nmae":""}', "unknown_field"),
    (b'{"name":7,"roleArn":"' + ROLE.encode() + b'"}', "wrong_type"),
]


@pytest.mark.parametrize(("line", "code"), HOSTILE, ids=[f"{code}{n}" for n, (_, code) in enumerate(HOSTILE)])
def test_hostile_lines(line: bytes, code: str) -> None:
    """Each kind of hostile line is one problem on its line, and its neighbours are rows."""
    data = line_of(named("before")) + b"\n" + line + b"\n" + line_of(named("after"))
    rows, problems, total = read(manifest(data))

    assert [row.definition.name for row in rows] == ["before", "after"]
    assert [(problem.line, problem.code) for problem in problems] == [(2, code)]
    assert (total.lines, total.invalid) == (3, 1)


@pytest.mark.parametrize("name", ["../../etc/passwd", "--yes", "=1+1", "@SUM(A1)", "$(reboot)", "%n", "{0}", "\x9b31m"])
def test_names_are_only_data(name: str) -> None:
    """A name that looks like a path, a flag, a formula or a format is a name."""
    ((row,), problems, _) = read(manifest(lines_of(named(name))))

    assert row.definition.name == name
    assert not problems


# Names that occur twice.


def test_a_name_that_is_repeated() -> None:
    """The same definition twice is a notice that names the first place; the second is no row and not invalid."""
    rows, (problem,), total = read(manifest(lines_of(named("x"), named("y"), named("x"))))

    assert [row.line for row in rows] == [1, 2]
    assert (problem.line, problem.code, problem.severity) == (3, "repeated_name", "notice")
    assert "repeats -:1 " in problem.message
    assert (total.lines, total.invalid, total.repeated) == (3, 0, 1)


@pytest.mark.parametrize(
    ("other", "what"),
    [({"description": "d"}, "with a different definition;"), ({"tags": {"a": "b"}}, "with different tags;")],
)
def test_a_name_with_another_definition(other: dict[str, Any], what: str) -> None:
    """A name that comes back with another definition or other tags is a problem; the first one is used."""
    rows, (problem,), total = read(manifest(lines_of(named("x"), named("x", **other))))

    assert [row.line for row in rows] == [1]
    assert (problem.line, problem.code, problem.severity) == (2, "conflicting_name", "problem")
    assert what in problem.message
    assert total.invalid == 1


def test_equal_definitions_in_other_words_are_no_conflict() -> None:
    """What counts is the definition with its defaults, not how it is written."""
    rules = Rules(defaults={"tags": {"team": "ads"}})
    line = b'{"tags":{"team":"ads"},"roleArn":"%s","n\\u0061me":"x"}' % ROLE.encode()
    _, (problem,), _ = read(manifest(lines_of(named("x")) + line, rules))

    assert problem.code == "repeated_name"


def test_names_across_sources_and_batches(tmp_path: Path) -> None:
    """A repeated name is found across sources and batches, exactly, and reported in the order of the lines."""
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_bytes(lines_of(*(named(f"n{number}") for number in range(1000))))
    second.write_bytes(lines_of(named("n999"), "bad", named("n0", description="d"), named("N0"), named("n0 ")))
    rows, problems, _ = read(Manifest([str(first), str(second)], RULES), size=7)

    assert len(rows) == 1002
    problems = [problem for problem in problems if problem.code != "similar_name"]
    assert [(problem.line, problem.code) for problem in problems] == [
        (1, "repeated_name"),
        (2, "wrong_type"),
        (3, "conflicting_name"),
    ]
    assert f"repeats {first}:1000 " in problems[0].message
    assert f"already used at {first}:1 with" in problems[2].message


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["", "1"]), st.sampled_from(["", "2"])),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 5),
)
def test_names_agree_with_a_dictionary(lines: list[tuple[str, str, str]], size: int) -> None:
    """Whatever is repeated in whatever batches, the rows and problems are those that a dictionary would give."""
    data = lines_of(*(named(name, description=text, tags={"t": tag}) for name, text, tag in lines))
    first: dict[str, tuple[str, str, str]] = {}
    expected = []
    for number, line in enumerate(lines, 1):
        if first.setdefault(line[0], line) is not line:
            expected.append((number, "repeated_name" if first[line[0]] == line else "conflicting_name"))
    rows, problems, total = read(manifest(data), size)

    assert [(problem.line, problem.code) for problem in problems] == expected
    assert len(rows) == len(first)
    assert total.lines == len(rows) + total.invalid + total.repeated


@pytest.mark.parametrize(
    ("one", "two", "what"),
    [
        ("train", "Train", "upper and lower case"),
        ("Train", "train", "upper and lower case"),
        ("TRAIN", "Train", "upper and lower case"),
        ("train", "train ", "leading or trailing spaces"),
        (" Train", "Train\t", "leading or trailing spaces"),
        ("\u00e9t\u00e9", "e\u0301te\u0301", "Unicode normal form"),
        ("e\u0301t\u00e9 ", "\u00c9TE\u0301", "case, spaces or Unicode normal form"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 512])
def test_names_that_look_alike(one: str, two: str, what: str, size: int) -> None:
    """Two names that people or a service may confuse are both used, with a notice at each of the two lines."""
    rows, problems, total = read(manifest(lines_of(named(one), named("other"), named(two))), size)

    assert [row.name for row in rows] == [one, "other", two]
    assert sorted((problem.line, problem.code, problem.severity) for problem in problems) == [
        (1, "similar_name", "notice"),
        (3, "similar_name", "notice"),
    ]
    assert all(f"only in {what};" in problem.message for problem in problems)
    assert {("-:3" in problem.message, problem.line) for problem in problems} == {(True, 1), (False, 3)}
    assert (total.lines, total.invalid, total.repeated) == (3, 0, 0)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "A", " a", "b", "B ", "\u00e9", "e\u0301", "E\u0301", "c"]), max_size=12),
    st.integers(1, 5),
)
def test_look_alikes_agree_with_a_dictionary(names: list[str], size: int) -> None:
    """In whatever batches, each new name is compared with the first one of its folded form, and only with that."""
    first: dict[str, int] = {}
    expected = []
    for number, name in enumerate(names, 1):
        if name not in names[: number - 1]:
            earlier = first.setdefault(folded(name), number)
            expected += [earlier, number] if earlier != number else []
    problems = read(manifest(lines_of(*map(named, names))), size)[1]

    assert sorted(problem.line for problem in problems if problem.code == "similar_name") == sorted(expected)


@pytest.mark.parametrize("pages", [2, 12])
@pytest.mark.parametrize("prefix", ["n", "N"])
def test_the_disk_for_names_is_full(monkeypatch: pytest.MonkeyPatch, pages: int, prefix: str) -> None:
    """When the names cannot be kept, the run stops with what to do (74): it must not go on without them."""

    def connect(*_: object, **options: Any) -> sqlite3.Connection:
        database: sqlite3.Connection = real("", **options)
        database.execute(f"PRAGMA max_page_count = {pages}")
        return database

    real = sqlite3.connect
    monkeypatch.setattr("provisioner.manifest.names.sqlite3.connect", connect)

    with pytest.raises(ScratchError, match="full") as caught:
        read(manifest(lines_of(*(named(f"{prefix}{number}") for number in range(1000)))))
    assert caught.value.reason is Reason.LEDGER


# Batches.


def test_batches_are_bounded(tmp_path: Path) -> None:
    """A batch has no more lines than asked for, and fewer when they are long or have many problems."""
    small = [batch.lines for batch in manifest(lines_of(*(named(f"n{n}") for n in range(10)))).batches(4)]
    blank = " " * 100_000
    path = tmp_path / "long.jsonl"
    path.write_bytes(b"".join(line_of(named(f"n{n}")) + blank.encode() + b"\n" for n in range(40)))
    wrong = lines_of(*({f"k{n}": 1 for n in range(200)} for _ in range(40)))

    assert small == [4, 4, 2]
    assert max(batch.lines for batch in Manifest([str(path)], RULES).batches()) <= BATCH_BYTES // len(blank) + 1
    assert max(len(batch.problems) for batch in manifest(wrong).batches()) <= 1024 + 101


def test_a_pipe_gives_its_lines_at_once() -> None:
    """What a slow writer has written is handed out without waiting for a full batch."""
    data = [lines_of(named("a")), lines_of(named("b"))]

    class Slow(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            del size
            return data.pop(0) if data else b""

    batches = Manifest(["-"], RULES, stdin=Slow()).batches()  # type: ignore[arg-type]  # it has read

    assert [row.definition.name for row in next(batches).rows] == ["a"]
    assert [row.definition.name for row in next(batches).rows] == ["b"]


def test_batches_may_be_taken_from_any_thread() -> None:
    """Each batch may be taken by another thread, as a pool of workers does, one at a time."""
    batches = manifest(lines_of(*(named(f"n{n}") for n in range(9)))).batches(2)
    counts: list[int] = []
    for _ in range(5):
        worker = threading.Thread(target=lambda: counts.append(len(next(batches).rows)))
        worker.start()
        worker.join()

    assert counts == [2, 2, 2, 2, 1]
    assert next(batches, None) is None


def test_how_far_it_is(tmp_path: Path) -> None:
    """The bytes read grow to the bytes there are, over all sources, as they lie on disk."""
    plain, packed = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    plain.write_bytes(lines_of(named("a")))
    packed.write_bytes(gzip.compress(lines_of(named("b"))))
    whole = Manifest([str(plain), str(packed)], RULES)

    assert whole.size_bytes == plain.stat().st_size + packed.stat().st_size
    assert [batch.read_bytes for batch in whole.batches()] == [whole.size_bytes]
    assert manifest(b"").size_bytes is None


def test_how_far_a_batch_is_within_what_was_read_at_once(tmp_path: Path) -> None:
    """A file is read in large blocks of many batches: each is as far as its lines are, not as the block is."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(lines_of(*(named(f"n{number:04}") for number in range(2000))))
    whole, lines, estimates = Manifest([str(path)], RULES), 0, []
    for batch in whole.batches():
        lines += batch.lines
        estimates.append(round(lines * path.stat().st_size / batch.read_bytes))

    assert estimates == [2000] * 4


def test_a_source_that_breaks_keeps_its_rows(tmp_path: Path) -> None:
    """A source that breaks in the middle is one problem on its line; the rows before it and other sources count."""
    broken, whole = tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl"
    packed = gzip.compress(lines_of(*(named(f"n{n}", description=f"{n * n}") for n in range(5000))))
    broken.write_bytes(packed[: len(packed) // 2])
    whole.write_bytes(lines_of(named("after")))
    rows, (problem,), total = read(Manifest([str(tmp_path / "*")], RULES))

    assert problem.code == "source_broken"
    assert problem.line == len(rows)
    assert rows[-1].definition.name == "after"
    assert (total.lines, total.invalid) == (len(rows) + 1, 1)


def test_a_template_in_a_compressed_source_is_no_bomb(tmp_path: Path) -> None:
    """A manifest of definitions that differ in their names alone is read to its end, however well it compresses."""
    data = lines_of(*(named(f"n{n:06d}", description="d" * 255, tags={"t": "v" * 256}) for n in range(8000)))
    path = tmp_path / "m.jsonl.gz"
    path.write_bytes(gzip.compress(data))
    rows, problems, _ = read(Manifest([str(path)], RULES))

    assert len(data) > 100 * path.stat().st_size
    assert len(rows) == 8000
    assert not problems


def test_a_definition_over_and_over_is_a_bomb(tmp_path: Path) -> None:
    """One definition many times is not useful: a source that unpacks to that is given up."""
    path = tmp_path / "m.jsonl.gz"
    path.write_bytes(gzip.compress(lines_of(named("x", description="d" * 255)) * 20_000))
    _, problems, total = read(Manifest([str(path)], RULES))

    assert problems[-1].code == "compression_bomb"
    assert total.lines < 10_000


# Reading again.


def test_a_file_may_be_read_again(tmp_path: Path) -> None:
    """Each pass over a file begins at its start and knows nothing of the other, also at the same time."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(lines_of(*(named(f"n{n}") for n in range(10))))
    whole = Manifest([str(path)], RULES)
    pairs = list(zip(whole.batches(3), whole.batches(3), strict=True))

    assert whole.repeatable
    assert whole.spooled().repeatable
    assert all(a.rows == b.rows and not a.problems for a, b in pairs)
    assert len(pairs) == 4


def test_standard_input_may_be_read_again_when_spooled() -> None:
    """Standard input can be read once, and as often as needed after it was spooled."""
    once = manifest(lines_of(named("a")))
    often = manifest(lines_of(named("a"))).spooled()

    assert not once.repeatable
    assert len(read(once)[0]) == 1
    with pytest.raises(ManifestError, match="only once"):
        read(once)
    assert len(read(often)[0]) == len(read(often)[0]) == 1


def test_each_target_reads_by_its_own_rules() -> None:
    """The same sources may be read under other defaults, from one spooled copy."""
    one = manifest(b'{"name":"x"}\n', Rules(defaults={"roleArn": ROLE})).spooled()
    two = one.under(Rules(defaults={"roleArn": ROLE + "2"}), one.audience)

    assert read(one)[0][0].definition.role_arn == ROLE
    assert read(two)[0][0].definition.role_arn == ROLE + "2"
    assert one.rules != two.rules


# Lines for some targets.

KNOWN = Known({"prod-us": {"env": "prod"}, "prod-eu": {"env": "prod"}, "dev": {}, "lab": {}})


def audience(data: bytes, *readers: str) -> dict[str, tuple[list[int], list[tuple[int, str]], Batch]]:
    """What each of ``readers``, and all together (""), make of a manifest: lines of rows, problems and the counts."""
    shared = manifest(data).spooled().under(RULES, Audience(KNOWN, readers))
    found = {}
    for reader in (*readers, ""):
        rows, problems, total = read(shared.for_target(reader or None))
        found[reader] = [row.line for row in rows], [(one.line, one.code) for one in problems], total
    return found


def test_a_line_is_for_the_targets_that_it_names() -> None:
    """Each target has the lines for it and those for all; lines for others are counted apart, and are no problem."""
    data = lines_of(
        named("a", targets=["prod-*"]),
        named("b"),
        named("c", targets=["tag:env=prod", "!prod-eu"]),
        named("d", targets=["lab"]),
    )
    found = audience(data, "prod-us", "prod-eu", "dev")

    assert {reader: rows for reader, (rows, _, _) in found.items()} == {
        "prod-us": [1, 2, 3],
        "prod-eu": [1, 2],
        "dev": [2],
        "": [1, 2, 3],
    }
    assert [problems for _, problems, _ in found.values()] == [[]] * 4
    assert [(total.lines, total.elsewhere, total.invalid) for _, _, total in found.values()] == [
        (4, 1, 0),
        (4, 2, 0),
        (4, 3, 0),
        (4, 1, 0),
    ]


def test_a_pattern_without_a_target_is_a_problem_for_everybody() -> None:
    """Most likely it is mistyped; the line is invalid in every target, so that nothing is pruned by it."""
    found = audience(lines_of(named("a", targets=["prod-su"]), named("b")), "prod-us", "dev")

    assert {(tuple(rows), tuple(problems), total.invalid) for rows, problems, total in found.values()} == {
        ((2,), ((1, "unknown_target"),), 1)
    }
    (problem,) = read(manifest(lines_of(named("a", targets=["prod-su"]))).under(RULES, Audience(KNOWN, ["dev"])))[1]
    assert problem.message == "targets: there is no target 'prod-su'. Did you mean prod-us?"


def test_a_name_may_be_repeated_for_other_targets() -> None:
    """Names are compared where two lines meet: the later one is ignored there, and used in its other targets."""
    data = lines_of(
        named("a", targets=["prod-us"], description="1"),
        named("a", targets=["dev"], description="2"),
        named("a", targets=["prod-*"], description="3"),
        named("a", targets=["lab"], description="4"),
        named("a", targets=["dev"], description="2"),
    )
    found = audience(data, "prod-us", "prod-eu", "dev")

    assert {reader: rows for reader, (rows, _, _) in found.items()} == {
        "prod-us": [1],
        "prod-eu": [3],
        "dev": [2],
        "": [1, 2],
    }
    assert found[""][1] == [(3, "conflicting_name"), (5, "repeated_name")]
    assert [(total.invalid, total.repeated, total.elsewhere) for _, _, total in found.values()] == [
        (1, 0, 3),
        (0, 0, 4),
        (0, 1, 3),
        (1, 1, 1),
    ]
    shared = manifest(data).under(RULES, Audience(KNOWN, ["prod-us", "dev"])).for_target("dev")
    assert [one.message for one in read(shared)[1]] == [
        (
            "this name is already used at -:1 for target prod-us with a different definition; this line is ignored. "
            "Rename or remove one of them"
        ),
        "this line repeats -:2 for target dev (same name, same definition); remove one of them",
    ]


def test_a_line_for_all_and_one_for_some_meet_in_some() -> None:
    """A line without targets is for every target, before or after one with."""
    first = audience(lines_of(named("a"), named("a", targets=["dev"], description="2")), "prod-us", "dev")
    last = audience(lines_of(named("a", targets=["dev"], description="2"), named("a")), "prod-us", "dev")

    assert [(rows, total.invalid) for rows, _, total in first.values()] == [([1], 0), ([1], 1), ([1], 1)]
    assert [(rows, total.invalid) for rows, _, total in last.values()] == [([2], 0), ([1], 1), ([1], 1)]


def test_names_that_look_alike_are_compared_within_a_target() -> None:
    """A name of another target looks like nothing here."""
    data = lines_of(named("A", targets=["prod-us"]), named("a", targets=["dev"]), named("a", targets=["prod-eu"]))

    assert [problems for _, problems, _ in audience(data, "prod-us", "dev").values()][:2] == [[], []]


def test_the_fingerprint_depends_on_the_choice_only_where_a_line_makes_one() -> None:
    """Another target in the configuration changes what a manifest with targets means, and no other manifest."""
    fingerprints = set()
    for line in (named("a"), named("a", targets=["dev"])):
        for known in (KNOWN, Known({"dev": {}})):
            shared = manifest(lines_of(line)).spooled().under(RULES, Audience(known, ["dev"])).for_target("dev")
            fingerprint = Fingerprint(RULES)
            list(shared.batches(fingerprint=fingerprint))
            plain = shared.fingerprint()
            assert fingerprint.hexdigest() in {plain, shared.marked(plain)}
            fingerprints.add(fingerprint.hexdigest())

    assert len(fingerprints) == 3


# In bulk.


@pytest.mark.parametrize("count", [2_000, pytest.param(1_000_000, marks=pytest.mark.torture)])
def test_no_line_is_lost_among_hostile_ones(count: int) -> None:
    """Of any mixture of valid and hostile lines, each is a row, invalid or repeated, and every problem has its line."""
    chance = random.Random(11)  # noqa: S311 - seeded, to be repeated
    lines = []
    for number in range(count):
        value = chance.choice([FULL, LEAST]) | {"name": f"n{number // 2}"}
        line = mutate(spell(value, chance), chance) if number % 3 else line_of(value)
        lines.append(line.replace(b"\n", b" ") + chance.choice([b"\n", b"\r\n", b"\n\n"]))
    rows, problems, total = read(manifest(b"".join(lines)))
    blank = sum(not line.strip() for line in lines)

    assert total.lines == count - blank == len(rows) + total.invalid + total.repeated
    assert total.invalid == len({problem.line for problem in problems if problem.severity == "problem"})
    assert all(str(problem).isprintable() for problem in problems)
    assert len({row.definition.name for row in rows}) == len(rows)


def test_files_whose_names_look_alike_when_printed_are_told_apart(tmp_path: Path) -> None:
    """One file has a control character in its name, another the escape of it: their lines are not confused."""
    (tmp_path / "a\x01.jsonl").write_bytes(line_of(named("same")))
    (tmp_path / r"a\x01.jsonl").write_bytes(line_of(named("same", description="another")))

    rows, (problem,), _ = read(Manifest([f"{tmp_path}/*.jsonl"], RULES))

    assert len(rows) == 1
    assert problem.code == "conflicting_name"


READ = """
import sys
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
print(sum(len(batch.rows) for batch in Manifest([sys.argv[1]], Rules()).batches()))
"""


@pytest.mark.parametrize("prefix", ["", "A"])
def test_memory_is_flat(tmp_path: Path, prefix: str) -> None:
    """Twelve times the lines take the same memory, but for the fixed cache of the names; capitals change nothing."""
    line = json.dumps(named(prefix + "00000000", tags={"team": "ads"}, description="d" * 200))
    peaks = {}
    for count in (5_000, 60_000):
        path = tmp_path / f"{count}.jsonl"
        with path.open("w") as out:
            out.writelines(line.replace("00000000", f"{number:08d}") + "\n" for number in range(count))
        rows, peaks[count] = peak_mib(READ, str(path))
        assert int(rows) == count

    assert peaks[60_000] - peaks[5_000] < 12


def test_long_tags_take_no_memory(tmp_path: Path) -> None:
    """Tags as long as they may be, others in every line, take the memory of a batch: no line of them is remembered."""
    peaks = {}
    for length in (1, 250):
        path = tmp_path / f"{length}.jsonl"
        with path.open("w") as out:
            for number in range(1_200):
                tags = {f"{key} {number}": "\U0001d4b3" * length for key in range(49)}
                out.write(json.dumps(named(f"n{number}", tags=tags), ensure_ascii=False) + "\n")
        rows, peaks[length] = peak_mib(READ, str(path))
        assert int(rows) == 1_200

    assert peaks[250] - peaks[1] < 16
