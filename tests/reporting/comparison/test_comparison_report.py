"""The report of comparisons whose truth is known, and of those that went wrong."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from comparison_story import STAGED, Story, realistic, staged, with_arm_words

from masklab.comparison.contrast import Verdict, contrasts
from masklab.comparison.outcomes import Outcomes
from masklab.curriculum.controls import CONTROLS
from masklab.curriculum.curriculum import Curriculum
from masklab.errors import RunError
from masklab.reporting.comparison.findings import Findings
from masklab.reporting.comparison.record import ComparisonRecord
from masklab.reporting.comparison.report import summary_markdown, write_report
from masklab.reporting.comparison.verdict_text import READINGS, conclusion, reasons, sentence
from masklab.reporting.numbers import amount, decimals, decimals_of, probability, signed, spread
from masklab.reporting.plots import FAINT, GRID, INK

BASELINE = "uniform"
QUICK = Story(controls=(BASELINE,))
HOSTILE = "</td></style><script>alert(1)</script> | a [link](http://evil.example) <img src=x onerror=alert(1)> `x` ]]> \u202e\x1b[2J\x00"
VOID = {"meta", "path", "use", "rect", "br", "img"}


class Elements(HTMLParser):
    """All that a page is made of; fails where an element is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta"}:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words.append(data)


def report(story: Story, folder: Path) -> tuple[str, str]:
    """The page and the Markdown."""
    story.write(folder)
    write_report(folder)
    return (folder / "report.html").read_text(encoding="utf-8"), (folder / "report.md").read_text(encoding="utf-8")


def rows(text: str, arm: str, against: str) -> list[list[str]]:
    """The cells of the rows of Markdown about a pair."""
    lines = [[cell.strip(" *").replace("\\", "") for cell in line.split(" | ")] for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip("| *") for cell in cells] for cells in lines if cells[0].strip("| *") == arm and cells[1] == against]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    realistic().write(folder)
    write_report(folder)
    return folder


@pytest.mark.parametrize(("effect", "words"), [(-0.05, "rising is better than uniform by"), (0.05, "rising is worse than uniform by")])
def test_a_planted_difference_is_the_first_thing_that_is_said(effect: float, words: str, tmp_path: Path) -> None:
    page, text = report(replace(QUICK, effects={"rising": effect}), tmp_path)
    assert words in text and words in page
    assert text.index(words) < text.index("## Verdicts")


def test_equal_arms_are_not_told_apart(tmp_path: Path) -> None:
    page, text = report(QUICK, tmp_path)
    assert "rising and uniform cannot be told apart" in text and "There is no advantage to explain." in text
    assert "rising is not distinguishable from uniform" in page
    assert not re.search(r"rising is (better|worse)", text + page)


def test_the_tables_have_the_numbers_of_the_statistics(whole: Path) -> None:
    story, text = realistic(), (whole / "report.md").read_text(encoding="utf-8")
    figures = {arm.name: {seed: story.nelbo(arm.name, seed) for seed in story.seeds} for arm in story.arms.arms}
    for c in contrasts(Outcomes.of(figures), [("rising", BASELINE), ("sticky", BASELINE)]):
        (row,) = rows(text, c.arm, BASELINE)
        digits = decimals_of(c)
        assert row[2] == f"{signed(c.difference, digits)} ± {c.stderr:.{digits}f}"
        assert row[4] == f"{signed(c.low, digits)} to {signed(c.high, digits)}"
        assert row[5].replace("&lt;", "<") == probability(c.p_holm) and row[6] == probability(c.p_sign_flip)
        assert row[7:9] == [str(len(c.seeds)), str(c.seeds_needed)]
        assert row[9] == f"{c.detectable:.{digits}f}" and row[10] == c.verdict.value
        assert sentence(c).replace("<", "&lt;") in text
        assert f" {row[2][1:]} nats" in sentence(c), "one contrast has the same digits in its sentence and in its table"
    mean, deviation = np.mean(list(figures["sticky"].values())), np.std(list(figures["sticky"].values()), ddof=1)
    assert f"| **sticky** | 5 | {mean:.4f} ± {deviation:.4f} |" in text


def test_each_family_is_corrected_by_itself_and_the_headline_by_the_curricula_alone(whole: Path) -> None:
    first, own, others = Findings.read(whole).families
    assert [(pair.arm, pair.baseline) for pair in first.pairs] == [("rising", BASELINE), ("sticky", BASELINE)]
    assert {c.pairs for c in first.tested} == {2}
    assert {pair.arm for pair in own.pairs} == {"rising", "sticky"} and all(pair.baseline != BASELINE for pair in own.pairs)
    assert {c.pairs for c in own.tested} == {len(own.pairs)}
    controls = {arm.name for arm in realistic().arms.arms if arm.controls_for}
    assert {pair.arm for pair in others.pairs} == controls and {pair.baseline for pair in others.pairs} == {BASELINE}


def test_the_controls_say_what_an_advantage_is_due_to(whole: Path) -> None:
    findings = Findings.read(whole)
    rising, sticky = findings.groups
    assert findings.pair("sticky", BASELINE).contrast.verdict is Verdict.BETTER  # type: ignore[union-attr]
    told = "\n".join(reasons(findings, sticky))
    assert "Its order matters: with the same stages shuffled it is worse (sticky-shuffled is 0.03" in told
    assert "The stages before the last one help: its last stage alone is worse (uniform, which is trained alike, is 0.02" in told
    assert "The control uniform tail is left out: sticky ends with uniform diffusion already." in told
    assert conclusion(findings, sticky).startswith("The controls tie its advantage to the order of its stages")
    assert "rising-uniform_tail cannot be told apart from uniform" in conclusion(findings, rising)


@pytest.mark.parametrize(
    ("effects", "words"),
    [
        ({"rising": 0.05, "rising-uniform_tail": -0.05}, "rising-uniform_tail is better than uniform"),
        ({"rising": 0.05, "rising-uniform_tail": 0.05}, "It does not lose by the mask ratios alone"),
        (
            {"rising": -0.05, "rising-mixture": -0.05, "rising-uniform_tail": -0.05},
            "not shown to be so by training its stages one after another",
        ),
    ],
)
def test_the_conclusion_follows_the_controls(effects: dict[str, float], words: str, tmp_path: Path) -> None:
    replace(QUICK, effects=effects, controls=(BASELINE, "mixture", "uniform_tail")).write(tmp_path)
    findings = Findings.read(tmp_path)
    assert words in conclusion(findings, findings.groups[0])


def test_every_control_has_words_for_every_verdict() -> None:
    assert [BASELINE, *READINGS] == list(CONTROLS)


FAILED = {("rising", 2): "training diverged at iteration 812", ("uniform", 3): "out of memory"}
ONE = staged("flat")
ODD = {
    "whole": QUICK,
    "failed": replace(QUICK, failed=FAILED),
    "one seed left": replace(QUICK, waiting=(2, 3, 4, 5)),
    "two seeds": replace(QUICK, seeds=(1, 2)),
    "nothing finished": replace(QUICK, waiting=(1, 2, 3, 4, 5)),
    "an arm without runs": replace(QUICK, failed={("rising", seed): "out of memory" for seed in QUICK.seeds}),
    "no baseline": replace(QUICK, controls=("reversed",)),
    "one stage": Story((ONE,), controls=(BASELINE, "reversed", "mixture")),
    "no noise": replace(QUICK, noise=0.0),
    "a margin": replace(QUICK, margin=0.02),
    "masked characters": replace(QUICK, unit="max_masked_chars"),
    "minutes": replace(QUICK, unit="max_minutes"),
}


@pytest.mark.parametrize("story", ODD.values(), ids=ODD)
def test_whatever_is_missing_is_put_in_words(story: Story, tmp_path: Path) -> None:
    page, text = report(story, tmp_path)
    shown = " ".join(Elements(page).words)
    for words in (shown, text, summary_markdown(tmp_path)):
        assert not re.search(r"\b(nan|NaN|inf|None)\b", words), words
    assert "## To repeat it" in text


def test_failed_runs_are_told_with_their_reasons_and_left_out_of_the_figures(tmp_path: Path) -> None:
    page, text = report(ODD["failed"], tmp_path)
    for words in ("rising, seed 2, failed: training diverged at iteration 812", "uniform, seed 3, failed: out of memory"):
        assert words in page and words in text
    (row,) = rows(text, "rising", BASELINE)
    assert row[7] == "3 of 5" and "3 of 5 seeds" in text


def test_one_finished_seed_is_no_verdict(tmp_path: Path) -> None:
    _, text = report(ODD["one seed left"], tmp_path)
    assert "**rising: no verdict.** Nothing can be said yet: rising and uniform have 1 of 5 seeds in common" in text
    assert "8 of 10 runs have no final NELBO yet" in text
    assert rows(text, "rising", BASELINE)[0][2:] == ["–"] * 8 + ["no verdict"]


def test_the_limits_of_the_answer_are_said_beside_it(whole: Path) -> None:
    text = (whole / "report.md").read_text(encoding="utf-8")
    assert "They say nothing of other texts, models or budgets" in text
    assert "(about 0.0060 nats, one standard error) is shared by all arms, and no number of seeds removes it" in text


def test_controls_left_out_are_told(whole: Path) -> None:
    page, text = ((whole / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    assert "sticky, uniform_tail: sticky ends with uniform diffusion already" in page
    assert "sticky, last\\_only: it is trained exactly as uniform" in text


def test_the_page_asks_nothing_of_the_network_and_runs_nothing(whole: Path) -> None:
    text = (whole / "report.html").read_text(encoding="utf-8")
    page = Elements(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "object", "image", "a"})
    for _, attributes in page.tags:
        assert all(value and value.startswith("#") for name, value in attributes.items() if name in ("src", "href", "xlink:href"))
        assert not any(name.startswith("on") for name in attributes)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text)) and "@import" not in text
    assert any(attributes.get("http-equiv") == "Content-Security-Policy" for _, attributes in page.tags)


def test_the_pictures_share_a_page_without_clashes_and_take_its_colours(whole: Path) -> None:
    text = (whole / "report.html").read_text(encoding="utf-8")
    names = Counter(attributes["id"] for _, attributes in Elements(text).tags if "id" in attributes)
    assert max(names.values()) == 1
    targets = {target for _, attributes in Elements(text).tags if (target := attributes.get("href"))}
    assert {target.removeprefix("#") for target in targets} <= names.keys()
    drawn = text[text.index("<svg") :]
    assert not any(colour in drawn for colour in (INK, FAINT, GRID, "#ffffff")) and "var(--ink)" in drawn
    assert "prefers-color-scheme: dark" in text


def test_pictures_are_drawn_to_one_scale(tmp_path: Path) -> None:
    Story().write(tmp_path)
    write_report(tmp_path)
    widths = {path.stem: float(re.findall(r'viewBox="0 0 ([0-9.]+)', path.read_text())[0]) for path in (tmp_path / "report").glob("*.svg")}
    assert "targets" in widths
    assert max(widths.values()) <= 1.25 * min(widths.values()), "a page makes all of them as wide as its column"


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    story = with_arm_words(replace(QUICK, name=f"x{HOSTILE}", warnings=(HOSTILE,), failed={("rising", 1): HOSTILE}), HOSTILE)
    page, text = report(story, tmp_path)
    elements = Elements(page)
    assert {tag for tag, _ in elements.tags}.isdisjoint({"script", "img"})
    assert "alert(1)" in "".join(elements.words)
    for shown in (page, text):
        assert not set(shown) & set("\u202e\x1b\x00")
    assert "<script" not in text and "<img" not in text and "\\[link\\]" in text
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.endswith(" |") for line in table)


def test_writing_it_again_gives_the_same_bytes_and_clears_what_is_no_longer_drawn(whole: Path) -> None:
    paths = write_report(whole)
    first = {path: path.read_bytes() for path in paths}
    assert {path.name for path in paths} >= {"report.html", "report.md", "forest-baseline.svg", "stages-1.svg"}
    (whole / "report" / "earlier.svg").write_text("<svg/>")
    assert {path: path.read_bytes() for path in write_report(whole)} == first
    assert set((whole / "report").iterdir()) == {path for path in paths if path.suffix == ".svg"}


def test_every_picture_of_the_text_is_there(whole: Path) -> None:
    text = (whole / "report.md").read_text(encoding="utf-8")
    named = re.findall(r"\]\((report/[\w-]+\.svg)\)", text)
    assert len(named) > 8 and all((whole / name).is_file() for name in named)
    assert len(named) == (whole / "report.html").read_text(encoding="utf-8").count("<svg")


def test_the_summary_is_the_answer_and_its_table_alone(whole: Path) -> None:
    text = summary_markdown(whole)
    assert "sticky is better than uniform" in text and len(rows(text, "sticky", BASELINE)) == 1
    assert text.index("| **sticky** |") < text.index("**sticky: better.**")
    assert "svg" not in text and len(text) < 6000


def test_a_damaged_file_of_a_run_is_told_and_the_rest_reported(tmp_path: Path) -> None:
    QUICK.write(tmp_path)
    (tmp_path / "arms/rising/seed-2/curve.json").write_text("{")
    (tmp_path / "arms/rising/seed-3/history.json").write_text("[]")
    (tmp_path / "arms/rising/seed-4/history.json").unlink()
    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8").replace("\\", "")
    for words in ("seed-2/curve.json cannot be read", "seed-3/history.json cannot be read", "rising, seed 4: no learning curve"):
        assert words in text
    assert sorted(Findings.read(tmp_path).learning_curves["rising"]) == [1, 2, 5]


def test_a_folder_without_a_comparison_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no comparison\.json"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("unit", "spent"), [("max_chars", 2e6), ("max_flops", 2e6), ("max_masked_chars", 9e5), ("max_minutes", 200.0)])
def test_learning_curves_run_over_the_budget_that_is_equal(unit: str, spent: float, tmp_path: Path) -> None:
    replace(QUICK, unit=unit).write(tmp_path)
    curve = Findings.read(tmp_path).learning_curves["rising"][1]
    assert curve.spent[-1] == pytest.approx(spent) and len(curve.spent) == 20


def test_stage_changes_are_the_mean_over_seeds(whole: Path) -> None:
    findings = Findings.read(whole)
    changes = findings.stage_changes("sticky")
    assert changes is not None and changes.shape == (3, len(findings.record.validation))
    by_hand = []
    for seed in realistic().seeds:
        evaluations = findings.files["sticky", seed].history.evaluations
        end = [e.stage_losses for e in evaluations if e.stage == 1][-1]
        begin = [e.stage_losses for e in evaluations if e.stage == 0][-1]
        by_hand.append(np.array(end, float) - np.array(begin, float))
    np.testing.assert_allclose(changes[1], np.mean(by_hand, axis=0))
    assert findings.stage_changes(BASELINE) is None and findings.stage_changes("sticky-mixture") is None


def test_a_compared_curriculum_that_is_the_baseline_is_not_held_against_itself(tmp_path: Path) -> None:
    same = Curriculum.model_validate({"name": "mine", "stages": [{"type": "diffusion", "schedule": "linear"}]})
    other = Curriculum.model_validate({"name": "other", "stages": STAGED["flat"]})
    _, text = report(Story((same, other), controls=(BASELINE,)), tmp_path)
    assert ComparisonRecord.read(tmp_path).baseline == "mine"
    assert "other and mine cannot be told apart" in text and "### Curricula against mine" in text


def test_figures_in_words() -> None:
    assert [probability(p) for p in (0.0004, 0.0123, 0.6, None)] == ["< 0.001", "0.012", "0.60", "–"]
    assert [signed(x, 2) for x in (0.031, -0.031, -0.001)] == ["+0.03", "−0.03", "0.00"]
    assert [spread(x, 1) for x in ([1.0, 3.0], [1.0], [None], [])] == ["2.0 ± 1.4", "1.0", "–", "–"]
    assert [decimals(x) for x in (0.02, 0.00004, 0.0, 1e-12)] == [4, 5, 4, 6]
    assert [amount(x) for x in (812, 2e6, 1.04e13, 9.999e12)] == ["812", "2.00M", "1.04e13", "1.00e13"]
