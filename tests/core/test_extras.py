import ast
import json
import pathlib
import re

import pytest

import keras_vlm
from keras_vlm.core.extras import import_extra

PACKAGE = pathlib.Path(keras_vlm.__file__).parent
SETUP = pathlib.Path(__file__).parents[2] / "setup.py"


def test_returns_the_module_that_is_named():
    assert import_extra("json", "metrics", "nothing") is json
    assert import_extra("json.decoder", "metrics", "nothing") is json.decoder


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.deep.down"])
def test_the_message_names_purpose_package_and_extra(module):
    message = (
        "The score METEOR needs the package 'no_such_package'. "
        "Install it with: pip install 'keras-vlm[metrics]'."
    )
    with pytest.raises(ImportError, match=f"^{re.escape(message)}$") as raised:
        import_extra(module, "metrics", "The score METEOR")
    assert isinstance(raised.value.__cause__, ImportError)


def calls_of_import_extra():
    """The extra that each call in the package names, by file and line."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_extra":
                found[f"{path.relative_to(PACKAGE)}:{node.lineno}"] = node.args[1].value
    return found


def test_every_extra_that_a_message_names_exists():
    text = SETUP.read_text(encoding="utf-8")
    extras = next(
        ast.literal_eval(keyword.value)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "extras_require"
    )
    found = calls_of_import_extra()
    assert found
    assert {place: extra for place, extra in found.items() if extra not in extras} == {}
