"""The pages hold: links lead somewhere, commands compose, lines fit, and the README stays short."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from trained_run import config_for, train_into

from masklab.config.compose.composition import compose, compose_tree
from masklab.config.jobs.registry import BENCHMARK, JOBS, PREPARE

PROJECT = Path(__file__).resolve().parents[1]
PAGES = [PROJECT / "README.md", PROJECT / "AGENTS.md", *sorted((PROJECT / "docs").glob("*.md"))]
GENERATED = ("config.md",)
TREES = {**JOBS, "prepare": PREPARE, "benchmark": BENCHMARK}
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
JOB = re.compile(r"python jobs/([a-z]+)\.py([^`\n]*)")
PLACEHOLDER = re.compile(r"--\w+|\[.*\]|\+experiment=(NAME|mine)")
"""Words of a command that stand for something else, and flags."""


def name_of(page: Path) -> str:
    return page.relative_to(PROJECT).as_posix()


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def lines_outside_code(page: Path) -> Iterator[str]:
    inside = False
    for line in text_of(page).splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            yield line


def anchors_of(page: Path) -> set[str]:
    """The fragments that GitHub gives the headings of a page."""
    titles = (line.lstrip("#").strip().lower() for line in lines_outside_code(page) if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def commands_of(page: Path) -> Iterator[tuple[str, list[str]]]:
    """The name and the arguments of each job that the page calls, with the page's own shell variables put in."""
    text = text_of(page).replace("\\\n", " ").replace("\\|", "|")
    variables = dict(re.findall(r'^([A-Z]+)="([^"]*)"', text, re.MULTILINE))
    for variable, value in variables.items():
        text = text.replace(f"${variable}", " ".join(value.split()))
    for job, rest in JOB.findall(text):
        yield job, shlex.split(rest, comments=True)


COMMANDS = sorted({(name_of(page), job, shlex.join(words)) for page in PAGES for job, words in commands_of(page)})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the curriculum that the README shows."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("jobs/conf", "curricula", "datasets"):
        shutil.copytree(PROJECT / folder, root / folder)
    (shown,) = re.findall(r"```yaml\n(.*?)```", text_of(PROJECT / "README.md"), re.DOTALL)
    (root / "curricula/mine.yaml").write_text(shown, encoding="utf-8")
    return root


def test_the_readme_has_at_most_150_lines() -> None:
    assert len(text_of(PROJECT / "README.md").splitlines()) <= 150


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in GENERATED], ids=name_of)
def test_lines_outside_tables_and_code_have_at_most_120_columns(page: Path) -> None:
    wide = [line for line in lines_outside_code(page) if len(line) > 120 and not line.lstrip().startswith(("|", "![", "<"))]
    assert not wide


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in LINK.findall("\n".join(lines_outside_code(page))):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        place = page.parent / path if path else page
        assert place.exists(), target
        assert not anchor or anchor in anchors_of(place), target


def test_every_file_and_folder_that_the_architecture_page_names_exists() -> None:
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", text_of(PROJECT / "docs/architecture.md")))
    found = [*PROJECT.glob("[!.]*"), *(path for top in ("platform", "jobs", "tests") for path in (PROJECT / top).rglob("*"))]
    places = {f"/{path.relative_to(PROJECT).as_posix()}" + "/" * path.is_dir() for path in found}
    missing = [name for name in named if "NAME" not in name and not any(place.endswith(f"/{name}") for place in places)]
    assert len(named) > 50 and not missing


def test_every_name_of_code_on_the_architecture_page_is_in_the_code() -> None:
    named = set(re.findall(r"`(_?[A-Za-z]\w+)`", text_of(PROJECT / "docs/architecture.md")))
    code = "\n".join(text_of(file) for top in ("platform", "tests/corruption") for file in (PROJECT / top).rglob("*.py"))
    assert len(named) > 10
    assert not [name for name in named if not re.search(rf"\b{name}\b", code)]


@pytest.mark.parametrize(("page", "job", "words"), COMMANDS)
def test_every_command_of_a_page_composes(page: str, job: str, words: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (PROJECT / "jobs" / f"{job}.py").is_file()
    run = SimpleNamespace(run=None, config=lambda: compose([], project))
    monkeypatch.setattr("masklab.config.checkpoints.find_checkpoint.find_checkpoint", lambda reference, home: run)
    monkeypatch.setattr("masklab.config.checkpoints.checkpoint_keys.with_source", lambda values, sizes, home: values)
    compose_tree(TREES[job], [word for word in shlex.split(words) if not PLACEHOLDER.fullmatch(word)], project)


def test_the_python_example_of_the_readme_fills_its_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("ROMEO: good night, good night. " * 100, encoding="utf-8")
    train_into(tmp_path, config_for(text, run={"name": "RUN"}, training={"max_iters": 2, "batch_size": 2, "block_size": 64}))
    monkeypatch.setenv("MASKLAB_HOME", str(tmp_path))
    (example,) = re.findall(r"```python\n(.*?)```", text_of(PROJECT / "README.md"), re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("ROMEO:") and line.endswith("night") and len(line) == 51 for line in lines)
