"""Generated prompts, search spaces and older configurations: each is taken, or refused in one line with nothing written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite

import pytest
from bad_input import Victim, many
from hypothesis import given
from hypothesis import strategies as st
from tiers import share

from masklab.config.jobs.registry import SAMPLE, TUNE
from masklab.config.jobs.sample import SampleConfig
from masklab.config.legacy import importer
from masklab.config.search import search_space
from masklab.config.search.search_space import draw
from masklab.errors import ConfigError
from masklab.sampling.generation import start_of
from masklab.text.vocabulary import Vocabulary

pytestmark = pytest.mark.timeout(300)
VOCABULARY = Vocabulary.of_text("The mask hides a letter, and [the] model guesses it.\n")


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return Victim.in_folder(tmp_path_factory.mktemp("words"), groups=["text"])


def prompted(config: SampleConfig) -> None:
    """As `jobs/sample.py`, up to the network."""
    start_of(config.sampling, VOCABULARY, 64)


def test_prompts(victim: Victim, told: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masklab.config.compose.composition._inherited", lambda *_: {})
    victim.counts.clear()
    pieces = [
        "[5]",
        "[*]",
        "[",
        "]",
        "\\",
        "[0]",
        "[-1]",
        "[999999999999]",
        "[" + "9" * 5000 + "]",
        "[٣]",
        "the",
        "${oc.env:HOME}",
        "???",
        "\n",
    ]
    prompts = st.lists(st.sampled_from(pieces) | st.text(max_size=5), max_size=8).map("".join)

    @many(share(800))
    @given(prompts, st.sampled_from(["error", "mask", "drop"]), st.none() | st.integers(-1, 80))
    def hold(prompt: str, unknown: str, length: int | None) -> None:
        sizes = [] if length is None else [f"sampling.length={length}"]
        victim.call(["checkpoint=x", f"prompt={prompt}", f"sampling.unknown={unknown}", *sizes], run=prompted, tree=SAMPLE)

    hold()
    told(f"prompts: {dict(victim.counts)}")
    assert victim.total >= share(800)


def test_search_spaces(victim: Victim, told: Callable[[str], None]) -> None:
    victim.counts.clear()
    numbers = st.sampled_from(["1", "-1", "0", "1e400", "nan", "inf", "9" * 400, "1e-300", "", "a", "(", "'", "${a.b}", "0.5", "1e300"])
    calls = st.builds(
        lambda kind, words: f"{kind}({','.join(words)})",
        st.sampled_from(["log", "uniform", "int", "choice"]),
        st.lists(numbers, max_size=3),
    )
    texts = calls | st.text(max_size=10)
    keys = st.sampled_from(["training.learning_rate", "training.max_iters", "model.dropout", "run.name", "tracking.uri", "curriculum", "x"])

    @many(share(600))
    @given(st.dictionaries(keys, texts, max_size=2))
    def hold(space: dict[str, str]) -> None:
        quoted = ",".join(f'{key}: "{text}"' for key, text in space.items())
        victim.call([f"sweep.space={{{quoted}}}"], run=lambda config: None, tree=TUNE)
        for text in space.values():
            try:
                drawn = draw({"x": search_space.distribution(text)}, 0, 0)
            except ConfigError:
                continue
            assert isinstance(drawn["x"], str) or isfinite(drawn["x"])

    hold()
    told(f"search spaces: {dict(victim.counts)}")
    assert victim.total >= share(600)


def test_older_configurations(victim: Victim, told: Callable[[str], None]) -> None:
    victim.counts.clear()
    file = victim.home / "train_older.py"
    names = ["batch_size", "block_size", "learning_rate", "dataset", "out_dir", "device", "start", "stages", "decay_lr", "eval_iters", "_x"]
    values = [
        "3",
        "-1",
        "1e400",
        "'../x'",
        "'a'*9**9",
        "9**9**9",
        "[1]*10**9",
        "open('x')",
        "__import__('os')",
        "{",
        "'\\0'",
        "None",
        "[[" * 60,
    ]
    lines = st.builds("{} = {}".format, st.sampled_from(names), st.sampled_from(values)) | st.text(max_size=15)

    def carry(config: object, text: str) -> None:
        try:
            importer.import_config(file, "older", victim.root)
        finally:
            written = [victim.root / "jobs/conf/experiment/older.yaml", victim.root / "curricula/older.yaml"]
            for path in written:
                path.unlink(missing_ok=True)

    @many(share(150))
    @given(st.lists(lines, max_size=4).map("\n".join))
    def hold(text: str) -> None:
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        victim.call([], run=partial(carry, text=text))

    hold()
    told(f"older configurations: {dict(victim.counts)}")
    assert victim.total >= share(150)
