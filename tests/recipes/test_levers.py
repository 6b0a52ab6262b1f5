"""The table of levers: what it compares, what it does with rows that fail, and that it goes on."""

import csv
import importlib
import json
import pathlib
import statistics

import keras
import pytest

from keras_vlm.fusion import FUSIONS
from keras_vlm.training import experiments
from keras_vlm.training.captioning_run import CaptioningRun
from keras_vlm.training.evaluate import Evaluation
from keras_vlm.training.runs import RUNS

RECIPES = pathlib.Path(__file__).parents[2] / "recipes"
HEADER = ["lever", "CIDEr-D on dev", "difference", "from", "best epochs", "seeds"]


@pytest.fixture
def levers(monkeypatch):
    """The recipe, which trains in this process: that spares the start of others."""
    monkeypatch.syspath_prepend(RECIPES)
    module = importlib.import_module("levers")
    monkeypatch.setattr(module, "train_row", experiments.train_here)
    return module


@pytest.fixture
def trained(levers, monkeypatch):
    """Trains nothing: who smooths less scores more; bfloat16 fails; remembers the runs."""
    runs = []

    def train(run, *, verbose, callbacks):
        if run.precision == "mixed_bfloat16":
            raise RuntimeError("no such numbers\nhere")
        if run.start and not pathlib.Path(run.start).exists():
            raise FileNotFoundError(run.start)
        runs.append(run)
        out = pathlib.Path(run.out)
        out.mkdir(parents=True, exist_ok=True)
        score = 0.5 - run.label_smoothing + 0.01 * run.seed + 0.03 * (run.text == "transformer")
        best = {"epoch": run.seed, "scores": {"CIDEr-D": score}}
        scores = {"monitor": "CIDEr-D", "best": best, "history": [best]}
        (out / "scores.json").write_text(json.dumps(scores))
        (out / "model.keras").touch()

    monkeypatch.setitem(RUNS, "captioning", (CaptioningRun, train))

    # A model is what it scores; an ensemble scores the sum of its members.
    def evaluate(members, examples, *, beam_size, verbose):
        assert beam_size == 1
        return Evaluation({"CIDEr-D": sum(members)}, {}, "", [])

    def load(path):
        return experiments.best_score(experiments.read_scores(path.parent))

    monkeypatch.setattr(levers, "load", load)
    monkeypatch.setattr(levers, "CaptionerEnsemble", list)
    monkeypatch.setattr(levers, "evaluate", evaluate)
    # There is none to clear, and a hundred rows would look through the memory of all tests before.
    monkeypatch.setattr(keras.backend, "clear_session", lambda: None)
    return runs


def read(out):
    with (out / "levers.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_table(levers, trained, tmp_path, capsys):
    assert levers.main(["scenes:20", "--out", str(tmp_path), "--seeds", "3"]) == 1
    header, base, *rows = read(tmp_path)
    assert header == HEADER
    assert base == [levers.BASE, "0.410 ± 0.010", "", "", "1, 2, 3", "3"]
    found = {row[0]: row[1:] for row in rows}
    assert found["label smoothing: none"] == [
        "0.510 ± 0.010", "+0.100", levers.BASE, "1, 2, 3", "3",
    ]  # fmt: skip
    assert found["label smoothing: 0.2"] == [
        "0.310 ± 0.010", "-0.100", levers.BASE, "1, 2, 3", "3",
    ]  # fmt: skip
    assert found["precision: mixed bfloat16"] == [
        "failed: no such numbers\nhere", "", levers.BASE, "", "0",
    ]  # fmt: skip
    assert found["ensemble: with the Transformer"] == [
        "0.850 ± 0.020", "+0.440", levers.BASE, "", "3",
    ]  # fmt: skip
    assert set(levers.LEVERS) < set(found)
    assert {"fusion: additive", "fusion: concat", "fusion: dot product"} < set(found)
    assert not {"fusion: multi head", "fusion: attention", "word vectors"} & set(found)
    # What fails fills one line of the table all the same.
    text = (tmp_path / "levers.md").read_text()
    failed = "| precision: mixed bfloat16 | failed: no such numbers here |  |"
    assert f"{failed} {levers.BASE} |  | 0 |" in text
    assert text in capsys.readouterr().out + "\n"
    assert found["second stage: self-critical"][2] == "second stage: goes on"
    assert found["second stage: goes on"][2] == found["Transformer"][2] == levers.BASE
    assert found["Transformer: norm after"][2] == "Transformer"


def test_each_row_differs_from_what_it_is_compared_with_by_its_lever_alone(levers, tmp_path):
    rows = levers.find_rows("my.vec")
    assert rows["word vectors"] == {"word_vectors": "my.vec"}
    base = levers.small_captioner("scenes:20", tmp_path)
    runs = {
        name: levers.change(base, options, tmp_path, name, 2) for name, options in rows.items()
    }
    # Options that make one lever together.
    whole = {
        "vocabulary: pieces": {"unit", "max_length"},
        "second stage: goes on": {"start", "learning_rate", "average"},
        "second stage: backbone tuned": {"trainable_from", "augment"},
        "second stage: backbone tuned at a fifth of the rate": {
            "trainable_from", "augment", "backbone_rate",
        },
        "second stage: self-critical": {"objective", "learning_rate", "average"},
    }  # fmt: skip
    of_the_model = set(base.OF_THE_MODEL)
    for name, run in runs.items():
        assert run.seed == 2
        if name == levers.BASE:
            continue
        other = runs[levers.compared_with(name)]
        changed = {
            key for key, value in vars(run).items()
            if value != getattr(other, key) and key not in {"out", "seed"}
        }  # fmt: skip
        if "start" in rows[name]:
            model = pathlib.Path(run.start)
            assert model == tmp_path / levers.folder_name(levers.BASE) / "seed-2" / "model.keras"
            changed -= of_the_model
        if name.startswith("second stage: self-critical, "):
            changed -= whole["second stage: self-critical"]
        assert changed == whole.get(name, changed), name
        # A row that says what the other says measures nothing.
        assert len(changed) == 1 or name in whole, (name, changed)


def test_every_fusion_has_a_row(levers):
    fusions = {options.get("fusion") for options in levers.find_rows(None).values()}
    assert fusions - {None} == {
        name for name, kind in FUSIONS.items() if kind is not FUSIONS["attention"]
    }


def test_some_rows_alone(levers, trained, tmp_path, capsys):
    levers.main(["scenes:20", "--out", str(tmp_path), "--only", "smoothing, weight decay"])
    names = [row[0] for row in read(tmp_path)[1:]]
    assert names == [
        levers.BASE, "label smoothing: none", "label smoothing: 0.2", "weight decay: none",
        "weight decay: 0.05",
    ]  # fmt: skip
    # One seed has no spread.
    assert read(tmp_path)[1][1] == "0.400"
    # What was trained before stays in the table.
    levers.main(["scenes:20", "--out", str(tmp_path), "--only", "norm after,"])
    assert [row[0] for row in read(tmp_path)[1:]] == [
        *names, "Transformer", "Transformer: norm after",
    ]  # fmt: skip
    with pytest.raises(FileExistsError, match="levers of another base: epochs was 6, now 7"):
        levers.main(["scenes:20", "--out", str(tmp_path), "--only", "norm", "--epochs", "7"])
    with pytest.raises(SystemExit):
        levers.main(["scenes:20", "--out", str(tmp_path), "--only", "nonsense"])
    assert "--only must be words in the names of rows" in capsys.readouterr().err


def test_an_ensemble_brings_its_members_and_is_scored_once(levers, trained, tmp_path, monkeypatch):
    arguments = ["scenes:20", "--out", str(tmp_path), "--only", "ensemble"]
    levers.main(arguments)
    table = read(tmp_path)
    names = [levers.BASE, "Transformer", "ensemble: with the Transformer"]
    assert [row[0] for row in table[1:]] == names
    monkeypatch.delattr(levers, "evaluate")
    levers.main(arguments)
    assert read(tmp_path) == table


def test_a_second_stage_without_its_base(levers, trained, tmp_path, monkeypatch):
    monkeypatch.setitem(experiments.SMALL_CAPTIONER, "precision", "mixed_bfloat16")
    levers.main(["scenes:20", "--out", str(tmp_path), "--only", "goes on,smoothing: none"])
    table = read(tmp_path)
    assert [row[1].partition(":")[0] for row in table[1:]] == ["failed"] * 3
    assert "model.keras" in table[3][1]


@pytest.mark.slow
@pytest.mark.parametrize("only", ["smoothing: none", "BLEU,smoothing: none"])
def test_real_trainings(levers, tmp_path, capsys, only):
    arguments = [
        "scenes:24", "--out", str(tmp_path), "--epochs", "1", "--hidden-dim", "12",
        "--image-size", "64", "--batch-size", "8", "--only", only,
    ]  # fmt: skip
    levers.main(arguments)
    table = read(tmp_path)
    names = [
        levers.BASE, "label smoothing: none",
        "second stage: goes on", "second stage: self-critical, BLEU-4 in the reward",
    ]  # fmt: skip
    assert [row[0] for row in table[1:]] == names[: 4 if "BLEU" in only else 2]
    found = {row[0]: float(row[1]) for row in table[1:]}
    others = [found[row[3] or levers.BASE] for row in table[1:]]
    for row, other in zip(table[1:], others, strict=True):
        scores = json.loads(
            (tmp_path / levers.folder_name(row[0]) / "seed-0" / "scores.json").read_text()
        )
        assert row[1] == f"{scores['best']['scores']['CIDEr-D']:.3f}"
        assert float(row[2] or 0) == pytest.approx(float(row[1]) - other, abs=0.0011)
        assert row[4] == str(scores["best"]["epoch"] + 1)
    # Features are computed once for all rows.
    assert (tmp_path / "features").is_dir()
    assert not list(tmp_path.glob("*/*/features"))
    # It is done, and says so again.
    capsys.readouterr()
    levers.main(arguments)
    assert read(tmp_path) == table
    assert "epoch 1 of 1" not in capsys.readouterr().out


@pytest.mark.slow
def test_all_rows_run(levers, tmp_path):
    vectors = tmp_path / "my.vec"
    vectors.write_text("red 0.1 0.2 0.3\ncircle 0.3 0.2 0.1\n")
    levers.main([
        "scenes:24", "--out", str(tmp_path / "out"), "--epochs", "1", "--hidden-dim", "12",
        "--image-size", "64", "--batch-size", "8", "--seeds", "2", "--word-vectors", str(vectors),
    ])  # fmt: skip
    table = read(tmp_path / "out")
    others = len(levers.LEVERS) + len(levers.ENSEMBLES)
    assert len(table) == 3 + others + len(set(FUSIONS.values())) - 1
    for row in table[1:]:
        assert not row[1].startswith("failed"), row
        assert row[5] == "2"
        scores = [
            json.loads(path.read_text())["best"]["scores"]["CIDEr-D"]
            for path in (tmp_path / "out" / levers.folder_name(row[0])).glob("seed-*/scores.json")
        ]
        assert row[1].startswith(f"{statistics.mean(scores):.3f} ± ")
