"""METEOR and SPICE: what is missing is named, and METEOR is pycocoevalcap's."""

import builtins
import shutil
import subprocess
import sys
import types

import pytest

from keras_vlm.metrics.java_metrics import JAVA_METRICS, java_score

REFERENCES = [["a dog runs on the grass", "the dog is running"], ["two men at a table"]]
HYPOTHESES = ["a dog runs", "two men sit at a table"]


@pytest.mark.parametrize("name", JAVA_METRICS)
def test_a_missing_package_names_the_extra(name, monkeypatch):
    for module in [module for module in sys.modules if module.startswith("pycocoevalcap")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    message = (
        rf"The score {name} needs the package 'pycocoevalcap'\. "
        r"Install it with: pip install 'keras-vlm\[metrics\]'"
    )
    with pytest.raises(ImportError, match=message):
        java_score(name, REFERENCES, HYPOTHESES)


class FakeScorer:
    """Notes what it is given and counts how many hypotheses equal a reference."""

    def compute_score(self, references, hypotheses):
        FakeScorer.given = references, hypotheses
        each = [float(hypotheses[i][0] in references[i]) for i in references]
        return sum(each) / len(each), each


@pytest.fixture
def fake_package(monkeypatch):
    for path, scorer in JAVA_METRICS.values():
        parts = path.split(".")
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        setattr(sys.modules[path], scorer, FakeScorer)


@pytest.mark.parametrize("name", JAVA_METRICS)
def test_missing_java_is_said_before_it_is_called(name, fake_package, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    monkeypatch.setattr(FakeScorer, "compute_score", None)
    message = rf"java_score: {name} needs Java, and there is no 'java' on the PATH"
    with pytest.raises(FileNotFoundError, match=message):
        java_score(name, REFERENCES, HYPOTHESES)


def java(monkeypatch, code):
    """A Java that ends with a code, as far as anybody asks."""
    done = subprocess.CompletedProcess([], code, "", "No Java runtime present\n")
    monkeypatch.setattr(shutil, "which", lambda program: "java")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)


@pytest.mark.parametrize("name", JAVA_METRICS)
def test_java_that_does_not_start_is_said(name, fake_package, monkeypatch):
    java(monkeypatch, 1)
    monkeypatch.setattr(FakeScorer, "compute_score", None)
    with pytest.raises(FileNotFoundError, match="'java -version' fails: No Java runtime present$"):
        java_score(name, REFERENCES, HYPOTHESES)


@pytest.mark.parametrize("name", JAVA_METRICS)
def test_texts_are_handed_over_picture_by_picture(name, fake_package, monkeypatch):
    java(monkeypatch, 0)
    score = java_score(name, REFERENCES, ["the dog is running", "nothing"])
    assert score == 0.5
    assert type(score) is builtins.float
    assert FakeScorer.given == (
        {0: REFERENCES[0], 1: REFERENCES[1]},
        {0: ["the dog is running"], 1: ["nothing"]},
    )


def test_an_unknown_score_lists_the_known():
    with pytest.raises(ValueError, match="'METEOR', 'SPICE', got 'METEO'.*mean 'METEOR'"):
        java_score("METEO", REFERENCES, HYPOTHESES)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR is a Java program; no java here")
# pycocoevalcap leaves the pipes to its Java process to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_meteor_of_known_captions():
    pytest.importorskip("pycocoevalcap", reason="METEOR comes with pycocoevalcap")
    assert 0.2 < java_score("METEOR", REFERENCES, HYPOTHESES) < 0.9
    # Word for word the one reference, METEOR 1.5 gives all.
    assert java_score("METEOR", [["two men at a table"]], ["two men at a table"]) == 1.0
