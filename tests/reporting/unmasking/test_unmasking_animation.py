"""The animation of text being unmasked, read back from its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from unmasking_story import drawn, told, vocabulary_of

from masklab.errors import DataError
from masklab.reporting.unmasking.colours import DARK, LIGHT, RGB, ColourBy, Theme, levels
from masklab.reporting.unmasking.gif import Sheet, palette, write_animation
from masklab.sampling.trace import Trace
from masklab.text.vocabulary import Vocabulary

PASSAGE = "Now is the winter of our discontent made glorious summer by this sun of York;\nAnd all the clouds that lour'd\nupon our house"


def frames(path: Path) -> list[tuple[Image.Image, int]]:
    """All frames in colour, with their milliseconds."""
    with Image.open(path) as file:
        return [(frame.convert("RGB"), frame.info["duration"]) for frame in ImageSequence.Iterator(file)]


def pixels(picture: Image.Image, colour: RGB) -> int:
    return int((np.asarray(picture) == colour).all(axis=2).sum())


def written(tmp_path: Path, trace: Trace, vocabulary: Vocabulary, theme: Theme = LIGHT, by: ColourBy = ColourBy.STEP) -> list[Image.Image]:
    write_animation(trace, vocabulary, tmp_path / "text.gif", by=by, theme=theme)
    return [picture for picture, _ in frames(tmp_path / "text.gif")]


@pytest.mark.parametrize(("steps", "count"), [(1, 2), (7, 8), (59, 60), (64, 60), (256, 60)])
def test_at_most_sixty_frames_of_which_the_last_stays_two_seconds(steps: int, count: int, tmp_path: Path) -> None:
    vocabulary = vocabulary_of("ab")
    write_animation(drawn("ab" * 4, vocabulary, steps=steps), vocabulary, tmp_path / "text.gif")
    *others, last = [milliseconds for _, milliseconds in frames(tmp_path / "text.gif")]
    assert (len(others) + 1, last) == (count, 2000)
    assert len(set(others)) == 1
    assert 60 <= others[0] <= 500


@pytest.mark.parametrize("remasked", [0.0, 0.3])
def test_a_text_of_256_characters_in_64_steps_takes_less_than_half_a_megabyte(remasked: float, tmp_path: Path) -> None:
    text = (PASSAGE * 3)[:256]
    vocabulary = Vocabulary.of_text(text)
    write_animation(drawn(text, vocabulary, steps=64, remasked=remasked), vocabulary, tmp_path / "text.gif")
    assert (tmp_path / "text.gif").stat().st_size < 500_000


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("by", list(ColourBy))
def test_every_frame_has_the_colours_it_was_made_with(theme: Theme, by: ColourBy, tmp_path: Path) -> None:
    vocabulary = Vocabulary.of_text(PASSAGE)
    trace = drawn(PASSAGE, vocabulary, steps=12, given=8)
    sheet, colours = Sheet(trace, vocabulary, "", by, 0), np.array(palette(theme)).reshape(-1, 3)
    for picture, snapshot in zip(written(tmp_path, trace, vocabulary, theme, by), trace.snapshots, strict=True):
        np.testing.assert_array_equal(np.asarray(picture), colours[sheet.picture(snapshot)])


def test_a_written_character_stands_on_the_tile_of_its_level_and_one_masked_again_does_not(tmp_path: Path) -> None:
    vocabulary = vocabulary_of("ab ")
    trace = told([["______"], ["      "], ["a_____"], ["aaaaab"]], vocabulary)
    pictures = written(tmp_path, trace, vocabulary)
    legend = pixels(pictures[0], LIGHT.tiles[0])
    at = [levels(snapshot, ColourBy.STEP, 3)[0, 0] for snapshot in trace.snapshots]
    assert at == [-1, 0, 16, 16]
    counts = [pixels(picture, LIGHT.tiles[0]) - legend for picture in pictures]
    assert counts[1] > 1000
    assert (counts[0], counts[2], counts[3]) == (0, 0, 0)
    assert all(pixels(pictures[i], LIGHT.tiles[16]) > pixels(pictures[1], LIGHT.tiles[16]) for i in (2, 3))


def test_given_characters_have_no_tile(tmp_path: Path) -> None:
    vocabulary = vocabulary_of("ab")
    first, last = written(tmp_path, told([["aaaaab"], ["aaaaab"]], vocabulary, given="aaaaab"), vocabulary)
    assert [pixels(first, tile) for tile in LIGHT.tiles] == [pixels(last, tile) for tile in LIGHT.tiles]
    assert pixels(last, LIGHT.ink) > 100


def test_the_chosen_text_is_shown(tmp_path: Path) -> None:
    vocabulary = vocabulary_of("ab")
    trace = told([["__", "__"], ["ab", "ba"]], vocabulary)
    for row in (0, 1):
        write_animation(trace, vocabulary, tmp_path / f"{row}.gif", row=row)
    swapped = told([["__"], ["ba"]], vocabulary)
    write_animation(swapped, vocabulary, tmp_path / "swapped.gif")
    assert (tmp_path / "swapped.gif").read_bytes() == (tmp_path / "1.gif").read_bytes() != (tmp_path / "0.gif").read_bytes()


def test_a_title_stands_above(tmp_path: Path) -> None:
    vocabulary = vocabulary_of("ab")
    trace = told([["__"], ["ab"]], vocabulary)
    write_animation(trace, vocabulary, tmp_path / "bare.gif")
    write_animation(trace, vocabulary, tmp_path / "titled.gif", title="a title\n" * 50)
    (bare, _), (titled, _) = frames(tmp_path / "bare.gif")[0], frames(tmp_path / "titled.gif")[0]
    assert titled.width == bare.width
    assert titled.height > bare.height


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    vocabulary = vocabulary_of("ab")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_animation(told([["__"], ["ab"]], vocabulary), vocabulary, tmp_path / "file" / "text.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@settings(max_examples=20, deadline=None)
@for_all(text=st.text(st.characters(), min_size=1, max_size=30))
def test_any_text_can_be_drawn(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    vocabulary = Vocabulary.of_text(text)
    path = tmp_path_factory.mktemp("any") / "text.gif"
    write_animation(drawn(text, vocabulary, steps=2), vocabulary, path, title=text)
    assert len(frames(path)) == 3
