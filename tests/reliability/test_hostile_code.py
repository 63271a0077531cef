"""What the code never does: run what it reads, unpickle it, hand words to a shell, or listen to the network."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
FILES = sorted([*(PROJECT / "platform/masklab").rglob("*.py"), *(PROJECT / "jobs").glob("*.py")])
CALLS = re.compile(
    r"(eval|exec|compile|__import__|getattr_static|os\.(system|popen|exec\w*|spawn\w*)|pty\.\w+|runpy\.\w+|marshal\.\w+|shelve\.\w+|"
    r"pickle\.(loads?|Unpickler)|(cloud|j|d)?pickle\.loads?|dill\.loads?|joblib\.load|pandas\.read_pickle|(np|numpy)\.load|"
    r"yaml\.(load|load_all|unsafe_load|full_load|unsafe_load_all|full_load_all)|"
    r"torch\.(load|jit\.load|package\.\w+)|(hydra\.utils\.)?(instantiate|get_class|get_method|call)|"
    r"OmegaConf\.(register_new_resolver|register_resolver|resolve)|importlib\.import_module|import_module)"
)
ALLOWED = {
    ("training/checkpoint/checkpoint.py", "torch.load"): "weights_only=True",
    ("io/safe_yaml.py", "yaml.load"): "Loader=LOADER",
    ("config/jobs/registry.py", "import_module"): "masklab.config.jobs.{self.module}",
}
"""Calls that are there, each with the words that make it harmless."""


def name_of(node: ast.Call) -> str:
    return ast.unparse(node.func)


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PROJECT)))
def test_nothing_that_is_read_is_run(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    place = file.relative_to(PROJECT / "platform/masklab").as_posix() if "platform" in file.parts else file.name
    for call in calls(tree):
        name, words = name_of(call), ast.unparse(call)
        if CALLS.fullmatch(name):
            assert (place, name) in ALLOWED and ALLOWED[place, name] in words, f"{file}:{call.lineno}: {words[:80]}"
        keywords = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert keywords.get("shell", "False") == "False", f"{file}:{call.lineno}: a shell"
        assert keywords.get("resolve", "False") == "False", f"{file}:{call.lineno}: OmegaConf would look things up"
        assert keywords.get("allow_pickle", "False") == "False", f"{file}:{call.lineno}: numpy would unpickle"
        assert keywords.get("weights_only", "True") == "True", f"{file}:{call.lineno}: torch would unpickle"


def test_one_unpickler_is_left_and_it_finds_no_class() -> None:
    of_pickle = {
        file: [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef) and node.bases]
        for file in FILES
        if "pickle" in file.read_text(encoding="utf-8")
    }
    found = [(file.name, node) for file, nodes in of_pickle.items() for node in nodes if "Unpickler" in ast.unparse(node.bases[0])]
    assert [(name, node.name) for name, node in found] == [("nanogpt.py", "_PlainUnpickler")]
    (_, unpickler) = found[0]
    (find_class,) = (node for node in unpickler.body if isinstance(node, ast.FunctionDef))
    assert find_class.name == "find_class" and [type(node) for node in find_class.body] == [ast.Raise]


def test_servers_listen_to_this_machine_alone() -> None:
    for file in [*FILES, PROJECT / "Makefile"]:
        text = file.read_text(encoding="utf-8")
        assert "0.0.0.0" not in text and '"::"' not in text, file
    hosts = re.findall(r"mlflow (?:ui|server)[^\n]*", (PROJECT / "Makefile").read_text(encoding="utf-8"))
    assert hosts and all("--host 127.0.0.1" in line for line in hosts)
    clusters = [
        ast.unparse(call)
        for file in FILES
        for call in calls(ast.parse(file.read_text(encoding="utf-8")))
        if name_of(call) == "ray.init" and "local" in ast.unparse(call)
    ]
    assert clusters and all("include_dashboard=False" in call for call in clusters)
