"""What a sweep file says, and what it cannot say: told with the file and the key."""

import importlib
import pathlib

import pytest

from keras_vlm.core.checks import DataError

RECIPES = pathlib.Path(__file__).parents[2] / "recipes"
FILE = """
task = "captioning"
trials = 7
best = 2
seeds = [0, 3]
one_in = 2

[base]
epochs = 4
augment = "none"

[space]
learning_rate = { low = 1e-4, high = 1, log = true }
hidden_dim = { low = 6, high = 18, step = 6 }
dropout = { low = 0.0, high = 0.5 }
fusion = ["attention", "additive"]
"""


@pytest.fixture
def read(monkeypatch, tmp_path):
    """Reads a sweep file that is written first."""
    monkeypatch.syspath_prepend(RECIPES)
    module = importlib.import_module("sweep_file")

    def call(text, **options):
        (tmp_path / "my.toml").write_text(text, encoding="utf-8")
        return module.read_sweep(tmp_path / "my.toml", "scenes:20", **options)

    return call


def test_the_shipped_sweep_files_can_be_read(read):
    module = importlib.import_module("sweep_file")
    files = sorted((RECIPES / "sweeps").glob("*.toml"))
    assert files
    for file in files:
        assert module.read_sweep(file, "scenes:20").space


def test_what_a_sweep_file_says(read):
    found = read(FILE)
    assert (found.task, found.trials, found.best, found.seeds) == ("captioning", 7, 2, (0, 3))
    assert (found.first_epochs, found.one_in) == (1, 2)
    assert found.base == {"epochs": 4, "augment": None}
    rate = found.space["learning_rate"]
    assert (rate.low, rate.high, rate.step, rate.log) == (1e-4, 1.0, None, True)
    assert type(rate.high) is float
    assert found.space["hidden_dim"].step == 6
    assert found.space["fusion"] == ["attention", "additive"]
    made = found.make_run("out", 5, {"fusion": "additive"})
    assert (made.fusion, made.augment, made.seed, made.data) == ("additive", None, 5, "scenes:20")
    changed = read(FILE, trials=2, epochs=9)
    assert (changed.trials, changed.base["epochs"]) == (2, 9)


def test_other_tasks_have_other_options(read):
    found = read('task = "retrieval"\n[space]\nloss = ["contrastive", "triplet"]\n')
    assert found.make_run("out", 0, {"loss": "triplet"}).batch_size == 128


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("trials = 7", "trials = [", "my.toml: .*line.*A sweep file is TOML"),
        ("trials = 7", "trails = 7", "my.toml: key 'trails' is unknown. Did you mean 'trials'"),
        ("trials = 7", "trials = 0", "my.toml: sweep: trials must be a whole number >= 1, got 0"),
        ("trials = 7", "trials = 1.5", "trials must be a whole number >= 1, got 1.5"),
        ("one_in = 2", "one_in = 1", "one_in must be a whole number >= 2, got 1"),
        ("best = 2", "best = -1", "best must be a whole number >= 0, got -1"),
        ("[0, 3]", "[]", r"seeds must be a list of whole numbers, got \[\]"),
        ("[0, 3]", "[0, 0]", r"seeds must differ, got \[0, 0\]"),
        ("[0, 3]", "3", "seeds must be a list of whole numbers, got 3"),
        ("[0, 3]", '["a"]', "seeds: each must be a whole number >= 0, got 'a'"),
        ('task = "captioning"', "", "my.toml: key 'task' is missing. It is one of 'captioning'"),
        ('"captioning"', '"caption"', "task must be one of .*, got 'caption'. Did you mean 'capt"),
        ("augment =", "augmet =", r"\[base\] augmet is no option of the task 'captioning'"),
        ("fusion =", "fusoin =", r"\[space\] fusoin is no option .* Did you mean 'fusion'"),
        ("augment =", "seed = 1 #", r"\[base\] seed must be left out: write seeds = \[...\]"),
        ("augment =", "out = 'a' #", r"\[base\] out must be left out: type it as --out"),
        ("augment =", "fusion = 'concat' #", r"fusion must be in \[base\] or in \[space\], got"),
        ('"none"', "7", r"\[base\] augment must be str \| None, got 7"),
        ("epochs = 4", "epochs = true", r"\[base\] epochs must be int, got True"),
        ("epochs = 4", "epochs = 'x'", r"\[base\] epochs must be int, got 'x'"),
        ("epochs = 4", "epochs = 0", "epochs must be a whole number >= 1, got 0"),
        ('"additive"]', '"addditive"]', r"\[space\] fusion = 'addditive': .*Did you mean 'add"),
        ('"additive"]', "5]", r"\[space\] fusion must be str, got 5"),
        ('"additive"]', '"attention"]', r"\[space\] fusion must be different values"),
        ('["attention", "additive"]', '"additive"', r"\[space\] fusion must be a list of values"),
        ('["attention", "additive"]', "{low = 1, high = 2}", r"\[space\] fusion must be str, got"),
        ("low = 6, ", "", r"\[space\] hidden_dim must be a list of values, or \{low"),
        ("low = 6", "low = 60", r"\[space\] hidden_dim must have low < high"),
        ("low = 6", "low = 1.5", r"\[space\] hidden_dim must be int, got 1.5"),
        ("step = 6", "step = 0", r"\[space\] hidden_dim must have a step above 0"),
        ("step = 6", "stop = 6", r"\[space\] hidden_dim must be a list of values, or \{low"),
        ("step = 6", "step = 6, log = true", r"hidden_dim must have log = true or a step"),
        ("low = 1e-4", "low = 0", r"\[space\] learning_rate must have 0 < low < high"),
        ("log = true", "log = 1", r"\[space\] learning_rate must have log = true or a step"),
        ("[space]", "[spice]", "key 'spice' is unknown. Did you mean 'space'"),
        ("dropout =", "epochs = [1, 2] #", "epochs must be in"),
    ],
)  # fmt: skip
def test_what_a_sweep_file_cannot_say(read, old, new, message):
    assert FILE.count(old) == 1
    with pytest.raises(DataError, match=message):
        read(FILE.replace(old, new))


def test_a_sweep_file_without_a_space(read):
    with pytest.raises(DataError, match=r"my.toml: table \[space\] is missing"):
        read('task = "captioning"\n')


def test_a_sweep_file_that_is_not_there(read, tmp_path):
    module = importlib.import_module("sweep_file")
    with pytest.raises(FileNotFoundError, match="nowhere.toml: there is no such sweep file"):
        module.read_sweep(tmp_path / "nowhere.toml", "scenes:20")
