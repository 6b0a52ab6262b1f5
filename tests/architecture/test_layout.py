"""The tree is what the README and the conventions say: a newcomer finds anything in a minute."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "keras_vlm"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_FILE_LINES, MOST_FUNCTION_LINES, MOST_ARGUMENTS = 400, 60, 8
OPTIONAL = (
    "tensorflow_datasets", "tensorflow_hub", "matplotlib", "PIL", "torch", "pycocoevalcap",
    "usearch", "qdrant_client", "easy_vqa", "keras_hub", "nicegui", "jieba", "snowballstemmer",
    "stopwordsiso", "av", "optuna",
)  # fmt: skip


def readme_map():
    """The lines of the README's map as (indent, name, text)."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text.partition("## Where things are")[2].partition("```")[2].partition("```")[0]
    found = re.findall(r"^( *)(\S+) *(.*)$", block, re.MULTILINE)
    return [(len(indent), name, text) for indent, name, text in found]


def test_the_readme_map_is_the_tree():
    mapped, top = set(), None
    for indent, name, text in readme_map():
        if indent == 0:
            top = name.rstrip("/")
            assert (ROOT / top).is_dir(), name
            continue
        path = ROOT / top / name.rstrip("/")
        mapped.add(path)
        assert path.exists(), name
        for file in re.findall(r"[\w]+\.py|[\w]+/", text):
            assert (path / file).exists(), f"{name}: {file}"
    inside = {
        path for path in PACKAGE.iterdir()
        if path.name != "__pycache__" and (path.is_dir() or path.suffix == ".py")
    }  # fmt: skip
    assert mapped == inside


def test_the_readme_map_names_every_folder_at_the_top():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    folders = {line.partition("/")[0] for line in listed.stdout.splitlines() if "/" in line}
    mapped = {name.rstrip("/") for indent, name, _ in readme_map() if indent == 0}
    mapped |= {"keras_vlm"}
    assert {folder for folder in folders if not folder.startswith(".")} == mapped


def test_tests_mirror_the_package():
    here = ROOT / "tests"
    apart = {"architecture", "recipes"}
    for test in here.rglob("test_*.py"):
        folder = test.relative_to(here).parent
        if folder.parts and folder.parts[0] not in apart:
            assert (PACKAGE / folder).is_dir(), test


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_sizes_and_docstrings(path):
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= MOST_FILE_LINES
    tree = ast.parse(source)
    assert ast.get_docstring(tree), "no module docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = node.end_lineno - node.lineno + 1
            documented = ast.get_docstring(node, clean=False) or ""
            assert body - documented.count("\n") <= MOST_FUNCTION_LINES, node.name
            positional = len(node.args.posonlyargs) + len(node.args.args)
            assert positional + len(node.args.kwonlyargs) <= MOST_ARGUMENTS + 1, node.name


def test_importing_the_package_imports_nothing_optional():
    # TensorFlow itself may bring some of them; what it brings is not ours.
    code = (
        "import sys, keras, tensorflow; before = set(sys.modules); import keras_vlm;"
        f"print(sorted(set({OPTIONAL}) & set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:keras_vlm", "-c", code],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


def test_floors():
    done = subprocess.run(
        [pathlib.Path(sys.executable).parent / "lint-imports"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_no_registry_of_our_own_and_no_tf_keras():
    for path in MODULES:
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"tf\.keras|tf_keras|tensorflow\.keras", source), path
        named_imports = path.name in {"extras.py", "main.py"}
        assert named_imports or "importlib.import_module" not in source, path
