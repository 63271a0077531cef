"""The parts of an error's line: its first line, a value, a key."""

from __future__ import annotations

import pytest

from masklab.errors import CheckpointError, first_line, naming, shortened, shown


def test_the_first_line_of_an_error_is_its_type_where_it_has_no_message() -> None:
    assert first_line(ValueError("\n one\n two")) == "one"
    assert first_line(KeyError()) == "KeyError"


def test_a_value_is_shown_as_yaml_spells_it_and_shortened() -> None:
    assert [shown(value) for value in (None, True, False, 1.5, "a")] == ["null", "true", "false", "1.5", "'a'"]
    assert shown("x" * 100) == "'" + "x" * 56 + "..."
    assert shortened("x" * 60) == "x" * 60


def test_an_error_of_a_checkpoint_names_the_key_that_asked_for_it() -> None:
    with pytest.raises(CheckpointError, match=r"^against: 'bard': no such run$"), naming("against"):
        raise CheckpointError("checkpoint = 'bard': no such run")
