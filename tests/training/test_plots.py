"""The curves of a run: a whole picture of the right size, or none."""

import struct

import pytest
import tensorflow as tf

from keras_vlm.training.plots import plot_history


def make_summary(epochs=3, **losses):
    scores = {"CIDEr-D": 0.5, "ROUGE-L": 0.3, "BLEU-4": 0.1, "BLEU-1": 0.6}
    return {
        "history": [
            {"epoch": epoch, "scores": scores, "losses": losses or {"loss": 3.0, "val_loss": 3.5}}
            for epoch in range(epochs)
        ]
    }


@pytest.mark.parametrize("epochs", [1, 7])
def test_a_png_of_the_right_size(tmp_path, epochs):
    path = tmp_path / "new folder" / "curves.png"
    plot_history(make_summary(epochs), path)
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1200, 480)
    assert data.endswith(b"IEND\xaeB`\x82")
    # Both halves have a curve: more than one colour.
    image = tf.io.decode_png(data, 3).numpy()
    for half in (image[:, :600], image[:, 600:]):
        assert len({tuple(colour) for colour in half.reshape(-1, 3)}) > 10
    assert [entry.name for entry in path.parent.iterdir()] == ["curves.png"]


def test_a_loss_may_be_missing_in_some_epochs(tmp_path):
    summary = make_summary(3)
    del summary["history"][0]["losses"]["val_loss"]
    plot_history(summary, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_a_failed_drawing_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    plot_history(make_summary(), path)
    before = path.read_bytes()
    from matplotlib.figure import Figure

    def fail(self, file, **options):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="No space left"):
        plot_history(make_summary(5), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["curves.png"]
