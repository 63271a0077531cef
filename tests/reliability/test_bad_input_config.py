"""Generated overrides, numbers, names and files of YAML: each is taken, or refused in one line with nothing written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args, get_origin

import pytest
import yaml
from bad_input import SMALL, Victim, many
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel
from tiers import share

from masklab.config.jobs.registry import JOBS, JobTree
from masklab.config.jobs.train import Config

pytestmark = pytest.mark.timeout(300)
DEVICES = ["con", "NUL", "prn.txt", "com1", "lpt9.log"]
LOOK_ALIKES = ["ｒｕｎ", "run\u2024name", "ru\u200bn", "\u202enur", "run\uff0fname", "run\u2215name", "ɴᴀᴍᴇ", "na\u0308me"]
PATHS = ["..", ".", "../x", "a/b", "/etc/x", "a\\b", "~", "~root", "~nobody_here/x", "-rf", ".hidden", "a..", "C:\\x", "//x", "a\0b", ""]
NAMES = st.sampled_from([*DEVICES, *LOOK_ALIKES, *PATHS, "x" * 101, "x" * 300, "x" * 70_000, "\ud800", "\ufeffrun", "a b"]) | st.text(
    max_size=20
)
NUMBERS = st.one_of(
    st.integers(),
    st.integers(min_value=-(10**30), max_value=10**30),
    st.floats(),
    st.sampled_from(
        [
            "1e400",
            "-1e400",
            "1e-400",
            "9" * 5000,
            "0x" + "f" * 9000,
            "nan",
            "inf",
            "-inf",
            "-0",
            "0",
            "-1",
            "1_0",
            "1e3",
            "١٢",
            "0b1",
            "1.5",
        ]
    ),
    st.sampled_from([2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**18, 10**40]),
)
WORDS = [
    "curriculum",
    "stages",
    "type",
    "name",
    "dataset",
    "path",
    "mask_ratio",
    "sticky",
    "null",
    "training",
    "_target_",
    "defaults",
    "hydra",
]
PIECES = [
    *WORDS,
    *".=+~@/,[]{}:$'\"\\ \t\n%#!&*|>?-",
    "${",
    "}}",
    "${oc.env:HOME}",
    "!!python/name:os.system",
    "1e400",
    "é",
    "\ufeff",
    "\x1b[31m",
]


def keys_of(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of all fields, with their types."""
    for name, info in section.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys_of(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def is_number(kind: Any) -> bool:
    return kind in (int, float) or (get_origin(kind) is not None and any(map(is_number, get_args(kind))))


NUMERIC = [key for key, kind in keys_of(Config) if is_number(kind)]
STAGE = ["mask_ratio", "p_start", "p_extend", "patience", "min_delta", "max_iters", "max_share"]
KEYS = [*(key for key, _ in keys_of(Config)), *(f"curriculum.stages.{n}.{key}" for n in (0, 1, 9) for key in STAGE)]


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return Victim.in_folder(tmp_path_factory.mktemp("bad"))


def test_every_job_has_numbers_to_try() -> None:
    assert len(NUMERIC) > 40 and {"training.max_iters", "model.n_embd", "validation.sequences"} <= set(NUMERIC)


def hold_overrides(victim: Victim, count: int) -> str:
    victim.counts.clear()
    values = st.one_of(NUMBERS.map(str), NAMES, st.sampled_from(PIECES), st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
    formed = st.builds("{}{}={}".format, st.sampled_from(["", "", "+", "++", "~"]), st.sampled_from([*KEYS, "curriculum", "model"]), values)
    raw = st.lists(st.sampled_from([*PIECES, *KEYS]), max_size=9).map("".join) | st.text(max_size=30)

    @many(count)
    @example(["training.max_iters=" + "[" * 400])
    @example(["curriculum.stages=" + "[" * 200 + "]" * 200])
    @example(["curriculum.description='" + "${curriculum.name}" * 200 + "'"])
    @example(["curriculum.description=${oc.env:HOME}"])
    @given(st.lists(formed | raw, min_size=1, max_size=3))
    def hold(overrides: list[str]) -> None:
        victim.call([*victim.plain_text, *overrides])

    hold()
    assert victim.total >= count
    return f"overrides: {dict(victim.counts)}"


def test_overrides(victim: Victim, told: Callable[[str], None]) -> None:
    told(hold_overrides(victim, share(2000)))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_great_many_overrides(victim: Victim, told: Callable[[str], None]) -> None:
    told(hold_overrides(victim, 50_000))


def test_numbers_of_every_key(victim: Victim, told: Callable[[str], None]) -> None:
    victim.counts.clear()

    @many(share(2500))
    @given(
        st.lists(st.tuples(st.sampled_from([*NUMERIC, *(f"curriculum.stages.0.{key}" for key in STAGE)]), NUMBERS), min_size=1, max_size=3)
    )
    def hold(given: list[tuple[str, Any]]) -> None:
        victim.call([*victim.plain_text, "curriculum=sticky", *(f"{key}={value}" for key, value in given)])

    hold()
    told(f"numbers: {dict(victim.counts)}")
    assert victim.total >= share(2500)


@pytest.mark.parametrize("key", NUMERIC)
def test_no_key_takes_a_number_that_no_machine_can_hold(victim: Victim, key: str) -> None:
    for number in (10**40, 2**62 + 1, 1e300):
        victim.call([*victim.plain_text, f"{key}={number}"])


def test_names(victim: Victim, told: Callable[[str], None]) -> None:
    victim.counts.clear()
    keys = ["run.name", "run.folder", "dataset.name", "dataset.path", "curriculum.name", "curriculum", "dataset", "model", "+experiment"]
    labelled = ["dataset.text_column", "dataset.label_column", "transfer.init_checkpoint", "mode.generator_checkpoint", "tracking.uri"]

    @many(share(400))
    @given(st.sampled_from([*keys, *labelled, "tracking.experiment"]), NAMES)
    def hold(key: str, name: str) -> None:
        victim.call([*victim.plain_text, "tracking.enabled=true", f"{key}={name}"])
        quoted = name.replace("\\", "\\\\").replace("'", "\\'")
        victim.call([*victim.plain_text, f"{key}='{quoted}'"])

    hold()
    told(f"names: {dict(victim.counts)}")
    assert victim.total >= share(800)


@pytest.mark.parametrize("tree", [tree for name, tree in JOBS.items() if tree.inherited])
def test_names_of_checkpoints(victim: Victim, told: Callable[[str], None], tree: JobTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKLAB_HOME", str(victim.home))
    victim.counts.clear()

    @many(share(100))
    @given(NAMES)
    def hold(name: str) -> None:
        quoted = name.replace("\\", "\\\\").replace("'", "\\'")
        assert victim.call([f"checkpoint='{quoted}'"], run=lambda config: 0, tree=tree) or not name
        assert victim.call([f"checkpoint={name}"], run=lambda config: 0, tree=tree)

    hold()
    told(f"checkpoints: {dict(victim.counts)}")


YAML_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE_YAML = [
    YAML_BOMB,
    "stages: " + "[" * 5000,
    "stages: " + "{a: " * 5000,
    "- " * 5000,
    "a: &a [*a]",
    "stages: &s [{type: random, max_ratio: 0.5, patience: *s}]",
    "patience: " + "9" * 10_000,
    "patience: 0x" + "f" * 100_000,
    "patience: 1" + ":59" * 50_000,
    "stages: !!python/object/apply:os.system [id]",
    "stages: !!python/name:os.system",
    "!!python/object/new:os.system [id]",
    "name: !!binary gIGC",
    "name: 2024-13-45",
    "name: !!timestamp 2024-99-99",
    "stages: !!set {a, b}",
    "? [complex, key]\n: value\n",
    "<<: {name: x}\n<<: *y",
    "%YAML 9.9\n---\nname: x\n---\nname: y",
    "defaults: [{/model: '${oc.env:HOME}'}]",
    "name: ${oc.env:HOME}",
    "name: ${now:%Y}",
    "_target_: os.system\n_args_: [id]",
    "\x00",
    "name: 'a\\0b'",
    'name: "\\ud800"',
    "\ufeffname: x\nstages: [{type: random, max_ratio: 0.5}]\n",
    "description: '" + "x" * (1 << 20) + "'",
    "description: ${stages}\nstages: [{type: random, max_ratio: 0.5}]",
]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """A project with one curriculum and one dataset, so that it is read quickly."""
    return Victim.in_folder(tmp_path_factory.mktemp("yaml"), groups=["text"])


def put(few: Victim, kind: str, content: bytes) -> list[str]:
    """Write a file of the user's, and what chooses it."""
    folder = few.root / {"curriculum": "curricula", "dataset": "datasets", "experiment": "jobs/conf/experiment"}[kind]
    (folder / "bad.yaml").write_bytes(content)
    sign = "+" if kind == "experiment" else ""
    text = few.plain_text if kind != "dataset" else SMALL
    return [*text, f"{sign}{kind}=bad"]


def test_files_of_yaml(few: Victim, told: Callable[[str], None]) -> None:
    few.counts.clear()
    leaf = (
        st.none()
        | st.booleans()
        | st.floats()
        | st.integers()
        | st.text(max_size=6)
        | st.sampled_from(["sticky", "random", "${a.b}", "???"])
    )
    key = st.sampled_from([*WORDS, "source", "max_ratio", "text", "objective", "patience", "validation_stages"]) | st.text(max_size=4)
    tree = st.recursive(leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(key, inner, max_size=4), max_leaves=10)
    words = st.lists(st.sampled_from([*PIECES, "- ", ": ", "\n  ", "\n", "&a ", "*a", "<<: "]), max_size=14).map("".join)
    whole = {"stages": [{"type": "random", "max_ratio": 0.5}]}
    content = (
        st.dictionaries(key, tree, max_size=3).map(lambda keys: _dumped(whole | keys))
        | tree.map(_dumped)
        | words.map(str.encode)
        | st.binary(max_size=40)
        | st.text(max_size=40).map(lambda t: t.encode("utf-16"))
    )

    @many(share(900))
    @given(st.sampled_from(["curriculum", "dataset"]), content)
    def hold(kind: str, content: bytes) -> None:
        few.call(put(few, kind, content))

    hold()
    (few.root / "curricula/bad.yaml").unlink()
    (few.root / "datasets/bad.yaml").unlink()
    told(f"files of YAML: {dict(few.counts)}")
    assert few.total >= share(900)


@pytest.mark.parametrize("text", HOSTILE_YAML, ids=lambda text: text[:24])
@pytest.mark.parametrize("kind", ["curriculum", "dataset", "experiment"])
def test_hostile_yaml(few: Victim, kind: str, text: str) -> None:
    try:
        few.call(put(few, kind, text.encode("utf-8", "surrogatepass")))
    finally:
        (few.root / {"curriculum": "curricula", "dataset": "datasets", "experiment": "jobs/conf/experiment"}[kind] / "bad.yaml").unlink()


def _dumped(tree: Any) -> bytes:
    return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
