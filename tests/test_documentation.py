r"""Every command that the documentation shows is run, so that none of them ever goes stale.

How to show one, in README.md, CONTRIBUTING.md and docs/*.md:

* A fenced block of the language ``console``; each of its lines that begins with ``$ provisioner`` is run as a real
  process, by a shell. A command that ends with ``\`` goes on in the next line. Other lines are not run: ``$ make ...``
  and the like, and output.
* The blocks of a file run in order, in one temporary directory that holds a copy of ``configs/``, with the embedded
  endpoint's credentials in the environment. What one block leaves behind (a ledger), the next one finds. Of the 216
  definitions of ``configs/example.jsonl`` it has every sixth, unless a command of the page is interrupted: all of them
  take twelve seconds at the limit of the embedded endpoint.
* A command ends with 0. Where the last one of a block does not, an HTML comment directly above the block says with
  what: ``<!-- exit: 65 -->``.
* Below the comment ``<!-- all -->`` every line that begins with ``$`` is run, whatever its program; a change of the
  directory holds for the blocks that follow.
* Output that is shown is not compared, unless ``<!-- exact -->`` stands above the block: then the lines under a command
  are what it prints on stdout.
* Where a page names an object in S3, there is one with the bucket ``manifests``, which holds the files of ``configs/``.
* ``$ provisioner emulate --port N`` stays in the background until the file's end. It gets a free port, and ``:N``
  means that one in the commands that follow.
* A block of the language ``python`` in docs/api.md is a part of an example in ``docs/examples``, and each example is
  run as a program.
* A ``$ provisioner`` line in a fenced block of another language would not be run, so it is an error.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from provisioner.exit_codes import ExitCode
from tests import s3
from tests.e2e.process import environment, executable
from tests.postgres import fresh_ledger
from tests.test_architecture import PACKAGE, ROOMS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
FILES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
EXAMPLES = sorted(ROOT.glob("docs/examples/*.py"))
PROMPT = "$ provisioner"
LIMIT_S = 60

_BLOCK = re.compile(r"((?:^<!--[^\n]*-->\n)*)^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
_PORT = re.compile(r"--port[ =](\d+)")

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))


class Shown(NamedTuple):
    """A command as the documentation shows it.

    Attributes:
        text: without the prompt.
        output: the lines below it.
        exit_code: how it has to end.
        exact: whether the lines below it are what it prints.
    """

    text: str
    output: str
    exit_code: int
    exact: bool


def blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """Comments, language and body of every fenced block."""
    for match in _BLOCK.finditer(text):
        yield match.group(1), match.group(2), match.group(3)


def commands(text: str, prompt: str = PROMPT) -> list[Shown]:
    """The commands in a page, in order: what has ``prompt``, or is said to be run whatever its program."""
    return [
        shown
        for comments, language, body in blocks(text)
        if language == "console"
        for shown in _of_block(comments, body, prompt)
    ]


def _of_block(comments: str, body: str, prompt: str) -> Iterator[Shown]:
    told = re.search(r"exit: (\d+)", comments)
    parts = re.split(r"^(?=\$ )", body.replace("\\\n", ""), flags=re.MULTILINE)
    ours = [part for part in parts if part.startswith("$ " if "<!-- all -->" in comments else prompt)]
    for number, part in enumerate(ours, 1):
        line, _, output = part.partition("\n")
        code = int(told.group(1)) if told and number == len(ours) else 0
        yield Shown(line.removeprefix("$ "), output, code, "exact" in comments)


class Page:
    """Runs the commands of one page in ``folder``, by default with every sixth definition of the example."""

    def __init__(self, folder: Path, stack: ExitStack, *, every: int = 6) -> None:
        self._folder = folder
        self._stack = stack
        self._ports: dict[str, str] = {}
        self._configs = folder / "configs"
        shutil.copytree(ROOT / "configs", self._configs)
        example = self._configs / "example.jsonl"
        example.write_bytes(b"".join(example.read_bytes().splitlines(keepends=True)[::every]))
        bin_folder = executable().parent
        self._environment = environment(PATH=f"{bin_folder}:{environment()['PATH']}", HOME=str(folder))

    def open_s3(self) -> None:
        """Start a S3 with the files of ``configs/``, for commands that use it."""
        store = self._stack.enter_context(s3.running())
        for file in self._configs.glob("*.jsonl"):
            store.put(file.name, file.read_bytes())
        self._environment["AWS_ENDPOINT_URL_S3"] = store.environment()["AWS_ENDPOINT_URL_S3"]

    def open_postgres(self) -> None:
        """Name a ledger in PostgreSQL, for commands that use ``$LEDGER``."""
        self._environment["LEDGER"] = fresh_ledger().url

    def run(self, shown: Shown) -> None:
        """Run one command and check how it ends."""
        text = shown.text
        for shown_port, port in self._ports.items():
            text = text.replace(f":{shown_port}", f":{port}")
        if text.startswith("provisioner emulate"):
            self._stack.enter_context(self._serving(text))
            return
        if text.startswith("cd "):
            self._folder /= text.removeprefix("cd ").strip()
            return
        done = subprocess.run(  # noqa: S602  the documentation is ours, and shows pipes
            text,
            shell=True,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == shown.exit_code, f"$ {text}\n{done.stdout}{done.stderr}"
        if shown.exact:
            assert done.stdout == shown.output, f"$ {text}"

    @contextmanager
    def _serving(self, text: str) -> Iterator[None]:
        asked = _PORT.search(text)
        process = subprocess.Popen(  # noqa: S602  as above
            f"exec {_PORT.sub('--port 0', text)}",
            shell=True,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, f"$ {text}: it did not start"
            if asked:
                self._ports[asked.group(1)] = url.rpartition(":")[2]
            yield
        finally:
            process.terminate()
            process.communicate(timeout=LIMIT_S)


@each_file
def test_every_command_shown_works(file: Path, tmp_path: Path) -> None:
    """Each command of a page, run in order as its reader would, ends as the page says."""
    with ExitStack() as stack:
        shown = commands(file.read_text(encoding="utf-8"))
        page = Page(tmp_path, stack, every=1 if any("timeout" in one.text for one in shown) else 6)
        if any("s3://" in one.text for one in shown):
            page.open_s3()
        if any("$LEDGER" in one.text for one in shown):
            page.open_postgres()
        for one in shown:
            page.run(one)


@each_file
def test_no_command_is_shown_where_it_would_not_be_run(file: Path) -> None:
    """A line with our prompt stands in a console block, or nobody would notice when it goes stale."""
    wrong = [
        line
        for _, language, body in blocks(file.read_text(encoding="utf-8"))
        if language != "console"
        for line in body.split("\n")
        if line.startswith(PROMPT)
    ]

    assert wrong == []


@each_file
def test_every_link_leads_somewhere(file: Path) -> None:
    """A page links to files that are there."""
    targets = _LINK.findall(file.read_text(encoding="utf-8"))

    assert [target for target in targets if not (file.parent / target).exists()] == []


def test_every_python_block_is_part_of_an_example() -> None:
    """Python that docs/api.md shows stands line for line in an example, which is run."""
    examples = [example.read_text(encoding="utf-8") for example in EXAMPLES]
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    shown = [body for _, language, body in blocks(page) if language == "python"]

    assert shown
    assert [body for body in shown if not any(body in example for example in examples)] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_runs(example: Path, tmp_path: Path) -> None:
    """Each example ends with 0, and prints nothing but its results."""
    done = subprocess.run(
        [sys.executable, "-W", "error", example],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_the_readme_shows_commands() -> None:
    """The README has commands to run, so that this test can't pass by finding none."""
    shown = commands((ROOT / "README.md").read_text(encoding="utf-8"))

    assert any("apply" in one.text for one in shown)


def test_the_readme_has_every_exit_code() -> None:
    """The table of exit codes is complete."""
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(map(int, rows)) == sorted(map(int, ExitCode))


_ROW = re.compile(r"^\| `([a-z_]+)(?:/|\.py)` \|", re.MULTILINE)
_MODULE = re.compile(r"`((?:provisioner/)?[a-z_]+/(?:[a-z_]+/)*[a-z_]+\.py)`")


def test_the_map_names_every_room() -> None:
    """The map in CONTRIBUTING.md has a row for each room; what has none is one module that it names."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    modules = {room for room in ROOMS if f"`{room}.py`" in page}

    assert {*_ROW.findall(page), *modules} == set(ROOMS)


def test_the_map_names_modules_that_exist() -> None:
    """Every module that CONTRIBUTING.md sends its reader to is there."""
    named = set(_MODULE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))

    assert "engine/retry.py" in named
    assert sorted(name for name in named if not ((PACKAGE / name).is_file() or (ROOT / name).is_file())) == []


PAGE = r"""
text
<!-- exit: 3 -->
<!-- exact -->
```console
$ provisioner a
one
two
$ make demo
not run
$ provisioner b \
    --c
three
```

<!-- exit: 2 -->
```console
$ provisioner c
```

<!-- all -->
```console
$ echo a
```

```sh
$ other
```
<!-- exit: 4 -->

```console
$ provisioner d | head
```
"""


def test_how_a_page_is_read() -> None:
    """The comments directly above a block are its own, the exit code is the last command's, and make is not run."""
    assert commands(PAGE) == [
        Shown("provisioner a", "one\ntwo\n", 0, exact=True),
        Shown("provisioner b     --c", "three\n", 3, exact=True),
        Shown("provisioner c", "", 2, exact=False),
        Shown("echo a", "", 0, exact=False),
        Shown("provisioner d | head", "", 0, exact=False),
    ]


def test_a_stale_command_is_noticed(tmp_path: Path) -> None:
    """A command that ends otherwise than the page says, or prints something else, fails."""
    with ExitStack() as stack:
        page = Page(tmp_path, stack)
        page.run(Shown("provisioner --no-such-option", "", 2, exact=True))
        with pytest.raises(AssertionError, match=r"(?i)no such option"):
            page.run(Shown("provisioner --no-such-option", "", 0, exact=False))
        with pytest.raises(AssertionError, match="version"):
            page.run(Shown("provisioner --version", "another version\n", 0, exact=True))


def test_an_endpoint_serves_the_commands_that_follow(tmp_path: Path) -> None:
    """What a page starts in the background is at the port that the page shows, and ends with the page."""
    line = '{"name": "a", "roleArn": "arn:aws:iam::123456789012:role/a"}'
    with ExitStack() as stack:
        page = Page(tmp_path, stack)
        for text, output in [
            ("provisioner emulate --port 8080", ""),
            (f"echo '{line}' | provisioner apply - --endpoint-url http://127.0.0.1:8080 > told", ""),
            ("provisioner export | wc -l", "1\n"),
        ]:
            page.run(Shown(text, output, 0, exact=True))
