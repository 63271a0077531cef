"""A trained classifier is scored on its held-out rows and labels the texts of a file, and each mistake is one line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score
from trained_run import config_for, train_into

from masklab.config.jobs.evaluate import EvaluateConfig
from masklab.config.jobs.predict import PredictConfig
from masklab.config.jobs.train import Config
from masklab.errors import CheckpointError, UserError
from masklab.inference.evaluate_classifier import evaluate_labels
from masklab.inference.predict import predict
from masklab.text.preparation import corpus_for
from masklab.training.run_folder import RunFolder

WORDS = {"no": ("poor", "dull"), "yes": ("fine", "great")}


def config_of(file: Path, mode: str, label_type: str) -> Config:
    return config_for(
        file,
        run={"name": f"{mode}-{label_type}"},
        dataset={"name": "mine", "source": "labelled", "path": str(file), "label_type": label_type, "validation_fraction": 0.3},
        curriculum={"name": "none", "stages": [{"type": "none"}]},
        mode={"type": mode},
        training={"max_iters": 40, "batch_size": 16, "block_size": 24, "eval_interval": 20, "warmup_iters": 2, "learning_rate": 1e-2},
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with three runs: a classifier, a regression, and a labeller of characters."""
    home = tmp_path_factory.mktemp("home")
    rows = [(f"{WORDS[name][i // 2 % 2]} film {i}", name) for i, name in enumerate(["no", "yes"] * 30)]
    for kind, label in {
        "class": lambda t, n: n,
        "number": lambda t, n: 5 + 2 * len(n),
        "per_token": lambda t, n: "".join("dl"[c.isalpha()] for c in t),
    }.items():
        with (home / f"{kind}.csv").open("w", newline="") as out:
            csv.writer(out).writerows([("text", "label"), *((text, label(text, name)) for text, name in rows)])
        train_into(home, config_of(home / f"{kind}.csv", "token_labeller" if kind == "per_token" else "sequence_classifier", kind))
    return home


def labelled(home: Path, run: str, texts: str, **keys: object) -> list[dict[str, str]]:
    """What `predict` writes for a file of texts."""
    (home / "new.csv").write_text(texts, encoding="utf-8")
    asked = {"checkpoint": run, "dataset": {"path": str(home / "new.csv")}, "system": {"device": "cpu"}} | keys
    assert predict(PredictConfig.model_validate(asked), home) == 0
    file = max((home / "runs" / run / "predictions").rglob("*.csv"))
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_the_metrics_are_those_of_the_predictions_for_the_held_out_texts(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = "sequence_classifier-class"
    config = config_of(home / "class.csv", "sequence_classifier", "class")
    asked = {"checkpoint": run, "dataset": config.dataset, "curriculum": config.curriculum, "tracking": {"enabled": False}}
    assert evaluate_labels(EvaluateConfig.model_validate(asked), home) == 0
    assert "18 held out of mine" in capsys.readouterr().out
    folder = home / "runs" / run / "evaluations" / "001"
    found = json.loads((folder / "evaluation.json").read_text())
    corpus = corpus_for(config.dataset, home / ".corpora")
    rows = corpus.validation
    texts = [corpus.vocabulary.decode(rows.tokens[a:b]) for a, b in zip(rows.offsets, rows.offsets[1:], strict=False)]
    told = labelled(home, run, "text\n" + "\n".join(texts))
    true = [corpus.labels.names[label] for label in rows.labels]
    predicted = [row["label"] for row in told]
    assert found["figures"]["accuracy"] == pytest.approx(accuracy_score(true, predicted))
    assert found["figures"]["accuracy"] > 0.8
    assert found["figures"]["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro"))
    assert np.trace(found["confusion"]) == sum(t == p for t, p in zip(true, predicted, strict=True))
    assert all(0.5 <= float(row["probability"]) <= 1 for row in told)
    assert (folder / "confusion.png").stat().st_size > 1000


def test_rows_keep_their_order_and_what_cannot_be_read_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = labelled(home, "sequence_classifier-class", "id,text\n1,great film\n2,\n3,dull €film\n4,€\n")
    assert [row["label"] for row in told] == ["yes", "", "no", ""]
    assert [row["place"] for row in told] == ["line 2", "line 3", "line 4", "line 5"]
    words = capsys.readouterr().out
    assert "2 of 4 rows have no text" in words
    assert "1 characters are unknown" in words


def test_numbers_and_labels_of_characters_are_predicted(home: Path) -> None:
    told = labelled(home, "sequence_classifier-number", "text\ngreat film 3\ndull film 4\n")
    assert float(told[0]["label"]) > float(told[1]["label"])
    assert 7 < float(told[0]["label"]) < 13
    told = labelled(home, "token_labeller-per_token", "text\nfine film 4\n")
    assert told[0]["label"].split() == [*"lllldlllldd"]


def test_each_character_of_a_text_has_a_place_among_its_labels(home: Path) -> None:
    text = "fi€ne film " + "4" * 20
    labels = labelled(home, "token_labeller-per_token", f"text\n{text}\n")[0]["label"].split()
    assert len(labels) == len(text)
    assert labels[2] == "?" and labels[25:] == ["?"] * 6  # 24 characters of a block, and one that is unknown
    assert "?" not in labels[:2] + labels[3:25]


def test_a_text_of_several_lines_stays_one_cell(home: Path) -> None:
    texts = ["great\rfilm", "dull\r\nfilm", "fine\nfilm", '"great", film', "=1+1"]
    (home / "lines.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    told = labelled(home, "sequence_classifier-class", "", dataset={"path": str(home / "lines.jsonl")})
    assert [row["text"] for row in told] == texts


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dataset": {"path": "/nowhere/new.csv"}}, "no such file"),
        ({"dataset": {"path": "{home}/class.csv", "text_column": "txt"}}, "no such column (did you mean 'text'?)"),
        ({"output": "out.txt"}, "the name must end in .csv or .tsv"),
        ({"output": "{home}/class.csv"}, "nothing is overwritten"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(home: Path, keys: dict[str, object], message: str) -> None:
    run = home / "runs" / "sequence_classifier-class"
    before = sorted(run.rglob("*"))
    asked = {"checkpoint": run.name, "dataset": {"path": str(home / "class.csv")}, "system": {"device": "cpu"}} | keys
    with pytest.raises(UserError) as caught:
        predict(PredictConfig.model_validate(json.loads(json.dumps(asked).replace("{home}", str(home)))), home)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(run.rglob("*")) == before


def test_a_model_without_labels_predicts_none(trained: RunFolder, home: Path) -> None:
    asked = {"checkpoint": str(trained.path), "dataset": {"path": str(home / "class.csv")}, "system": {"device": "cpu"}}
    with pytest.raises(CheckpointError, match=r"mode\.type=token_classifier, which predicts no labels"):
        predict(PredictConfig.model_validate(asked), home)
