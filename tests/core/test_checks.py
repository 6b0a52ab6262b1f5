import re

import pytest

from keras_vlm.core.checks import (
    DataError,
    check_choice,
    check_number,
    resolve,
    resolve_heads,
    suggest,
)

CHOICES = {"additive": 1, "dot": 2, "concat": 3}


def test_data_error_is_a_value_error():
    assert issubclass(DataError, ValueError)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("aditive", " Did you mean 'additive'?"),
        ("dott", " Did you mean 'dot'?"),
        ("zzz", ""),
        ("", ""),
        (5, ""),
        (None, ""),
    ],
)
def test_suggest(name, expected):
    assert suggest(name, CHOICES) == expected


def test_suggest_takes_choices_that_are_no_strings():
    assert suggest(224, [225, 7]) == " Did you mean '225'?"


@pytest.mark.parametrize("choices", [CHOICES, list(CHOICES), tuple(CHOICES)])
def test_check_choice_returns_what_is_allowed(choices):
    assert check_choice("build", "fusion", "dot", choices) == "dot"


@pytest.mark.parametrize(
    ("value", "ending"),
    [
        ("aditive", "got 'aditive'. Did you mean 'additive'?"),
        ("Dot", "got 'Dot'. Did you mean 'dot'?"),
        ("zzz", "got 'zzz'."),
        (None, "got None."),
        (3, "got 3."),
        (["dot"], "got ['dot']. Did you mean 'dot'?"),
    ],
)
def test_check_choice_names_place_argument_choices_and_value(value, ending):
    message = f"build: fusion must be one of 'additive', 'dot', 'concat', {ending}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_choice("build", "fusion", value, CHOICES)


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (0, {"minimum": 0}),
        (0.5, {"minimum": 0, "maximum": 1}),
        (1, {"minimum": 0, "maximum": 1}),
        (-3, {"minimum": -3, "integer": True}),
        (7, {"minimum": 7, "maximum": 7, "integer": True}),
        (1e9, {"minimum": 0}),
    ],
)
def test_check_number_returns_what_is_in_range(value, limits):
    assert check_number("fit", "rate", value, **limits) is value


@pytest.mark.parametrize(
    ("value", "limits", "expected"),
    [
        (-1, {"minimum": 0}, "a number >= 0, got -1."),
        (1.5, {"minimum": 0, "maximum": 1}, "a number from 0 to 1, got 1.5."),
        (2.0, {"minimum": 1, "integer": True}, "a whole number >= 1, got 2.0."),
        (8, {"minimum": 1, "maximum": 7, "integer": True}, "a whole number from 1 to 7, got 8."),
        (True, {"minimum": 0}, "a number >= 0, got True."),
        (False, {"minimum": 0, "integer": True}, "a whole number >= 0, got False."),
        (float("nan"), {"minimum": 0}, "a number >= 0, got nan."),
        ("3", {"minimum": 0}, "a number >= 0, got '3'."),
        (None, {"minimum": 0}, "a number >= 0, got None."),
    ],
)
def test_check_number_names_argument_range_and_value(value, limits, expected):
    with pytest.raises(ValueError, match=f"^{re.escape(f'fit: rate must be {expected}')}$"):
        check_number("fit", "rate", value, **limits)


@pytest.mark.parametrize(
    ("width", "heads"), [(1, 1), (12, 1), (64, 1), (122, 1), (128, 2), (384, 6), (390, 6), (509, 1)]
)
def test_heads_are_about_64_wide_when_nobody_says(width, heads):
    found = resolve_heads("build", None, width)
    assert found == heads
    assert width % found == 0
    assert found == 1 or width // found >= 64


def test_heads_that_divide_the_width_are_kept():
    assert [resolve_heads("build", heads, 12) for heads in (1, 2, 3, 12)] == [1, 2, 3, 12]


def test_heads_must_divide_the_width():
    message = "build: num_heads must divide the width 12, got 5. Leave it out for heads of about"
    with pytest.raises(ValueError, match=f"^{re.escape(message)} 64 units.$"):
        resolve_heads("build", 5, 12)


class Part:
    """Something that an option may be."""


TABLE = {"plain": Part, "loud": lambda: "loud"}


def test_resolve_takes_a_name_or_an_object():
    part = Part()
    assert resolve("build", "part", part, TABLE, Part) is part
    made = resolve("build", "part", "plain", TABLE, Part)
    assert isinstance(made, Part)
    assert made is not resolve("build", "part", "plain", TABLE, Part)


@pytest.mark.parametrize(("value", "received"), [(5, "5 (int)"), (None, "None (NoneType)")])
def test_resolve_refuses_other_types(value, received):
    message = f"build: part must be a name or a Part, got {received}. Names: plain, loud."
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        resolve("build", "part", value, TABLE, Part)


def test_resolve_refuses_a_class_in_place_of_an_object():
    with pytest.raises(TypeError, match=r"part must be a name or a Part, got <class .*\(type\)"):
        resolve("build", "part", Part, TABLE, Part)


def test_resolve_suggests_a_name():
    message = "build: part must be one of 'plain', 'loud', got 'plan'. Did you mean 'plain'?"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        resolve("build", "part", "plan", TABLE, Part)
