"""The pull request: what it writes into a checkout of moto, and where that is none."""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path

import moto
import pytest
from botocore.session import Session

from tests.emulator.upstream import pull_request
from tests.emulator.upstream.pull_request import NoCheckoutError, write

MOTO = Path(moto.__path__[0])
"""The installed moto stands for a checkout's; what only the repository has is made up below."""

COVERAGE = """
## cleanrooms
<details>
<summary>18% implemented</summary>

- [ ] batch_get_schema
- [X] create_collaboration
</details>

## clouddirectory
<details>
<summary>20% implemented</summary>

- [X] create_directory
</details>

## Unimplemented:
<details>

- cleanroomsml
- cloudhsm
</details>"""
SETUP = "[options.extras_require]\nce =\ncleanrooms =\ncloudformation =\n    joserfc>=0.9.0\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a checkout of moto has of the files that the pull request changes."""
    for path in ("docs/docs/services", "moto", "tests"):
        (tmp_path / path).mkdir(parents=True)
    for name in ("backend_index.py", "backends.py"):
        (tmp_path / "moto" / name).write_text((MOTO / name).read_text())
    (tmp_path / "setup.cfg").write_text(SETUP)
    (tmp_path / "IMPLEMENTATION_COVERAGE.md").write_text(COVERAGE)
    return tmp_path


def _files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def _changes(before: str, after: str) -> list[str]:
    """The lines that were removed and added."""
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


def test_it_has_motos_layout(checkout: Path) -> None:
    """A service is a package, a package of tests, a page, and a line or two in four files; nothing of ours is named."""
    before = _files(checkout)
    added = write(checkout)
    after = _files(checkout)

    assert sorted(set(after) - set(before)) == [
        "docs/docs/services/cleanroomsml.rst",
        *(f"moto/cleanroomsml/{name}.py" for name in ("__init__", "exceptions", "models", "responses")),
        "moto/cleanroomsml/urls.py",
        "moto/cleanroomsml/validators.py",
        "tests/test_cleanroomsml/__init__.py",
        "tests/test_cleanroomsml/test_cleanroomsml.py",
        "tests/test_cleanroomsml/test_rgtapi_integration.py",
        "tests/test_cleanroomsml/test_server.py",
    ]
    changed = {name for name in after if after[name] != before.get(name)}
    assert [name for name in changed if not name.startswith(tuple(added))] == []
    assert [name for name in changed if "provisioner" in after[name]] == []


def test_shared_files_get_lines_and_lose_none(checkout: Path) -> None:
    """The files of all services get the lines of this one, in their place, and are formatted as before."""
    before = _files(checkout)
    write(checkout)
    after = _files(checkout)

    changes = {name: _changes(before[name], after[name]) for name in before}
    assert changes["setup.cfg"] == ["+ cleanroomsml ="]
    assert changes["moto/backend_index.py"] == [
        r'+     ("cleanroomsml", re.compile("https?://cleanrooms-ml\\.(.+)\\.amazonaws\\.com")),'
    ]
    assert [line for line in changes["moto/backends.py"] if line[0] == "-"] == []
    assert len(changes["moto/backends.py"]) == 6
    names: dict[str, list[tuple[str, object]]] = {}
    exec(after["moto/backend_index.py"], names)  # noqa: S102 - moto's own file
    services = [service for service, _ in names["backend_url_patterns"]]
    assert services[services.index("cleanrooms") + 1] == "cleanroomsml"
    formatted = [checkout / name for name in ("moto/backends.py", "moto/backend_index.py")]
    subprocess.run([sys.executable, "-m", "ruff", "format", "--isolated", "--check", *formatted], check=True)


def test_every_operation_is_listed(checkout: Path) -> None:
    """The lists name every operation of the service model, and mark the seven on configured model algorithms."""
    write(checkout)
    names = Session().get_service_model("cleanroomsml").operation_names
    section = (checkout / "IMPLEMENTATION_COVERAGE.md").read_text().partition("## cleanroomsml\n")[2]
    listed = [line for line in section.partition("</details>")[0].splitlines() if line.startswith("- ")]

    assert len(listed) == len(names)
    assert [line for line in listed if line.startswith("- [X] ")] == [
        "- [X] create_configured_model_algorithm",
        "- [X] delete_configured_model_algorithm",
        "- [X] get_configured_model_algorithm",
        "- [X] list_configured_model_algorithms",
        "- [X] list_tags_for_resource",
        "- [X] tag_resource",
        "- [X] untag_resource",
    ]
    assert f"{700 // len(names)}% implemented" in section
    assert section.partition("</details>")[2].startswith("\n\n## clouddirectory\n")
    assert "- cleanroomsml\n" not in section
    page = (checkout / "docs/docs/services/cleanroomsml.rst").read_text()
    assert "\n".join(listed) in page
    assert ".. autoclass:: moto.cleanroomsml.models.CleanRoomsMLBackend\n" in page


def test_a_second_run_changes_nothing(checkout: Path) -> None:
    """Written once more, after a change of ours, the checkout has every line once."""
    write(checkout)
    once = _files(checkout)
    write(checkout)

    assert _files(checkout) == once


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("setup.cfg", None, "setup.cfg: No such file or directory"),
        ("setup.cfg", "[options.extras_require]\nce =\n", "cleanrooms is not listed as in moto 5.2.5 and later"),
    ],
)
def test_another_folder_is_refused(checkout: Path, path: str, text: str | None, message: str) -> None:
    """Where a file is missing, or an older moto does not list the neighbour, nothing is written, and it says why."""
    (checkout / path).unlink()
    if text is not None:
        (checkout / path).write_text(text)
    before = _files(checkout)

    with pytest.raises(NoCheckoutError, match=message):
        write(checkout)
    assert _files(checkout) == before
    with pytest.raises(SystemExit, match="is no up-to-date checkout of moto"):
        pull_request.main([str(checkout)])


def test_it_says_what_comes_next(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who runs it reads how much is implemented and what to type next; without a checkout, how to name one."""
    pull_request.main([str(checkout)])

    told = capsys.readouterr().out
    assert told.startswith("7 of ")
    assert "pytest tests/test_cleanroomsml" in told
    with pytest.raises(SystemExit, match="make moto-pr MOTO="):
        pull_request.main([""])
