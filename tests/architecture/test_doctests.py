"""Every example in a docstring does what it says. The modules are those that are installed."""

import doctest
import importlib
import pkgutil

import pytest

import keras_vlm

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(keras_vlm.__path__, "keras_vlm.")
    if not module.name.startswith("keras_vlm.saved_models")
)  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    found = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert found.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [
        test.name
        for name in MODULES
        for test in finder.find(importlib.import_module(name))
        if test.examples
    ]
    assert len(examples) > 20
