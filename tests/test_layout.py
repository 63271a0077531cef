"""The architecture holds: imports run downward, heavy libraries stay in their layers, and no folder shadows a module."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from masklab.config.compose.composition import compose, group_names

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "platform" / "masklab"

LEVELS = [
    {"errors", "failpoints", "rng", "schema"},
    {"io"},
    {"text"},
    {"corruption"},
    {"curriculum"},
    {"model"},
    {"modes"},
    {"training", "likelihood", "sampling", "comparison"},
    {"config"},
    {"tracking"},
    {"reporting"},
    {"inference"},
    {"cluster", "results"},
]
LEVEL = {layer: level for level, layers in enumerate(LEVELS) for layer in layers}
NUMERICAL = {"model", "modes", "training", "likelihood", "sampling", "config", "tracking", "reporting", "inference", "cluster"}
HOMES = {
    "torch": NUMERICAL,
    "mlflow": {"tracking", "results"},
    "pandas": {"results"},
    "matplotlib": {"reporting"},
    "PIL": {"reporting"},
    "jinja2": {"reporting"},
    "rich": {"reporting", "inference", "cluster"},
    "ray": {"cluster"},
    "hydra": {"config"},
    "omegaconf": {"config"},
}
"""The layers that may import each library, nested imports included."""

MODULES = sorted(PACKAGE.rglob("*.py"))
FRAGMENT_LINES = 60
SINGLE_USE = {"likelihood/autoregressive.py", "likelihood/report.py"}
"""Short files with one importer and a topic of their own: one estimator, and the report of all. No others are to join them."""


def imported(file: Path) -> Iterator[str]:
    """Dotted names of all modules that `file` imports anywhere in its text."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module
            yield node.module
            if node.module.partition(".")[0] == "masklab":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_run_downward(file: Path) -> None:
    if file == PACKAGE / "__init__.py":
        assert not list(imported(file))
        return
    for name in imported(file):
        top, *rest = name.split(".")
        if top == "masklab" and rest:
            assert LEVEL[rest[0]] <= LEVEL[layer_of(file)], f"{file} imports {name}, which is in a layer above it"
        if top in HOMES:
            assert layer_of(file) in HOMES[top], f"{file} imports {name}"


@pytest.mark.parametrize("name", ["session.py", "train/plan.py", "compare/plan.py", "tune/plan.py"])
def test_what_runs_before_a_cluster_is_there_does_not_import_ray(name: str) -> None:
    assert not [each for each in imported(PACKAGE / "cluster" / name) if each.split(".")[0] == "ray"]


def test_every_folder_of_the_package_is_a_layer() -> None:
    assert {layer_of(file) for file in MODULES} - {"__init__"} <= LEVEL.keys()


def module_of(file: Path) -> str:
    return ".".join(("masklab", *file.relative_to(PACKAGE).with_suffix("").parts))


def importers() -> dict[str, set[Path]]:
    """The files that import each module of the package, or a name from it."""
    found: dict[str, set[Path]] = {}
    for file in [*MODULES, *(PROJECT / "jobs").glob("*.py")]:
        for name in imported(file):
            found.setdefault(name, set()).add(file)
    return found


def test_no_file_is_a_fragment() -> None:
    """A short file has two importers, defines or joins a union of configuration types, or is the configuration of a job."""
    known = importers()
    unions = {file for file in MODULES if "Field(discriminator=" in file.read_text(encoding="utf-8")}
    fragments = {
        str(file.relative_to(PACKAGE))
        for file in MODULES
        if file.name != "__init__.py"
        and len(file.read_text(encoding="utf-8").splitlines()) < FRAGMENT_LINES
        and len(using := known.get(module_of(file), set())) < 2
        and not {file, *using} & unions
        and file.parent != PACKAGE / "config" / "jobs"
    }
    assert fragments <= SINGLE_USE, "merge each with the file that imports it"


def test_no_file_is_over_300_lines() -> None:
    assert not [file for file in MODULES if len(file.read_text(encoding="utf-8").splitlines()) > 300]


def test_package_files_are_empty_but_for_the_root() -> None:
    for file in PACKAGE.rglob("__init__.py"):
        if file.parent != PACKAGE:
            assert not file.read_text(encoding="utf-8").strip(), file


def test_templates_styles_and_scripts_are_installed_with_the_package() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    installed = {path for glob in project["tool"]["setuptools"]["package-data"]["masklab"] for path in PACKAGE.glob(glob)}
    assert set((PACKAGE / "reporting" / "templates").iterdir()) <= installed


@pytest.mark.parametrize("path", ["platform/__init__.py", "platform/platform.py", "platform.py", "datasets/__init__.py", "datasets.py"])
def test_nothing_shadows_a_module_of_that_name(path: str) -> None:
    assert not (PROJECT / path).exists()


def test_job_files_put_the_source_root_on_the_path_before_they_import_the_package() -> None:
    for job in (PROJECT / "jobs").glob("*.py"):
        body = ast.parse(job.read_text(encoding="utf-8")).body
        lines = [ast.unparse(node) for node in body]
        path = next(i for i, line in enumerate(lines) if line.startswith("sys.path.insert"))
        package = [i for i, line in enumerate(lines) if line.startswith(("from masklab", "import masklab"))]
        assert all(i > path for i in package), job


def test_every_dependency_is_pinned_to_an_exact_version_and_to_no_address() -> None:
    pins = (PROJECT / "constraints.txt").read_text(encoding="utf-8").split()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    pinned = {canonical(pin.partition("==")[0]) for pin in pins}
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for dependency in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        assert canonical(re.split(r"[^A-Za-z0-9._-]", dependency)[0]) in pinned, dependency


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", group_names(PROJECT)["curriculum"])
def test_every_curriculum_loads_and_says_what_it_is(name: str) -> None:
    mode = ["mode=language_model"] if name == "none" else []
    curriculum = compose([*mode, f"curriculum={name}"], PROJECT).curriculum
    assert curriculum.name == name
    assert curriculum.description.endswith(".")
    assert all(stage.max_share is not None for stage in curriculum.stages[:-1]), "a stage that nothing but patience ends"


@pytest.mark.parametrize("name", group_names(PROJECT)["dataset"])
def test_every_dataset_loads(name: str) -> None:
    mode = ["mode=sequence_classifier"] if name in ("labelled", "python_packages") else []
    place = ["dataset.path=some/file"] if name in ("text", "nanogpt", "labelled") else []
    assert compose([*mode, f"dataset={name}", *place], PROJECT).dataset.name == name


@pytest.mark.parametrize("name", group_names(PROJECT)["mode"])
def test_every_mode_loads(name: str) -> None:
    labels = ["dataset=labelled", "dataset.path=some/file", "dataset.label_type=per_token"] if name == "token_labeller" else []
    generator = ["mode.generator_checkpoint=run"] if name == "masked_ratio" else []
    kind = {"masked_ratio": "sequence_classifier"}.get(name, name)
    assert compose([f"mode={name}", *labels, *generator], PROJECT).mode.type == kind


@pytest.mark.parametrize("name", group_names(PROJECT)["model"])
def test_every_model_loads(name: str) -> None:
    given = yaml.safe_load((PROJECT / f"jobs/conf/model/{name}.yaml").read_text(encoding="utf-8")) or {}
    model = compose([f"model={name}"], PROJECT).model.model_dump()
    assert given.items() <= model.items()


@pytest.mark.parametrize("name", group_names(PROJECT)["experiment"])
def test_every_experiment_loads_and_gives_way_to_the_command_line(name: str) -> None:
    mode = ["mode=token_classifier"] if name == "shakespeare_char_cpu" else []  # a language model has no curriculum
    config = compose([f"+experiment={name}", *mode, "model=medium", "curriculum=mixed", "training.max_iters=7"], PROJECT)
    assert (config.model.n_layer, config.curriculum.name, config.training.max_iters) == (12, "mixed", 7)


def test_the_scripted_curricula_are_the_documented_ones() -> None:
    def stages(name: str) -> list[dict[str, object]]:
        kept = {"type", "mask_ratio", "p_start", "p_extend", "min_ratio", "max_ratio", "schedule"}
        return [{k: v for k, v in s.model_dump().items() if k in kept} for s in compose([f"curriculum={name}"], PROJECT).curriculum.stages]

    sticky = [
        {"type": "sticky", "mask_ratio": 0.2, "p_start": 0.3, "p_extend": 0.0},
        {"type": "sticky", "mask_ratio": 0.4, "p_start": 0.2, "p_extend": 0.8},
        {"type": "sticky", "mask_ratio": 0.6, "p_start": 0.1, "p_extend": 0.9},
    ]
    linear = {"type": "diffusion", "schedule": {"type": "linear", "eps": 1e-3}}
    assert stages("sticky") == sticky
    assert stages("annealed") == [*sticky, linear]
    assert stages("progressive") == [{"type": "random", "min_ratio": r, "max_ratio": r} for r in (0.15, 0.30, 0.50, 0.70)]
    assert stages("random") == [{"type": "random", "min_ratio": 0.0, "max_ratio": r} for r in (0.3, 0.7)]
    assert stages("uniform") == [linear]
    assert stages("cosine") == [{"type": "diffusion", "schedule": {"type": "cosine", "offset": 0.008, "clip": 0.999}}]
    kinds = [stage["type"] for stage in stages("mixed")]
    assert kinds == sorted(kinds) and set(kinds) == {"random", "sticky"}
