"""`keras-vlm video` and the flags for clips of the other commands, as a person types them."""

import json

import pytest
from clip_models import F, video_captioner, video_qa
from oracles import scenes_captioner, scenes_retriever
from videos import PHOTOS, photo_shot, write_video

from keras_vlm import load
from keras_vlm.cli.main import main
from keras_vlm.search.pictures import open_index


def run(arguments, capsys):
    code = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    folder = tmp_path_factory.mktemp("film")
    frames = [frame for photo in PHOTOS[:3] for frame in photo_shot(photo, 20, (48, 64), 0)]
    return write_video(folder / "film.mp4", frames, rate=10)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    made = {
        "captioner": video_captioner(), "qa": video_qa(), "pictures": scenes_captioner(),
        "retriever": scenes_retriever("bag"),
    }  # fmt: skip
    for name, model in made.items():
        model.save(folder / f"{name}.keras")
    return {name: folder / f"{name}.keras" for name in made}


def test_caption(film, models, tmp_path, capsys):
    expected = load(models["captioner"]).caption(film)
    code, out, _ = run(["video", "caption", film, "--model", models["captioner"]], capsys)
    assert (code, out.strip()) == (0, expected[0])
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    asked = ["video", "caption", film, broken, "--model", models["captioner"], "--json"]
    code, out, err = run(asked, capsys)
    rows = json.loads(out)
    assert code == 1
    assert [row["caption"] for row in rows] == [expected[0], ""]
    assert rows[1]["score"] is None
    assert "broken.mp4: cannot be read as a video." in err
    code, _, err = run(["video", "caption", film, "--model", models["pictures"]], capsys)
    assert (code, "must be a model of clips with the method caption" in err) == (1, True)
    code, _, err = run(
        ["video", "caption", tmp_path / "gone.mp4", "--model", models["captioner"]], capsys
    )
    assert (code, "gone.mp4: no such video" in err) == (1, True)


def test_ask(film, models, capsys):
    asked = ["how many shapes appear ?", "what changes first , the circle or the square ?"]
    expected = load(models["qa"]).answer(film, asked)
    code, out, _ = run(["video", "ask", film, *asked, "--model", models["qa"], "--json"], capsys)
    assert code == 0
    assert [row["answer"] for row in json.loads(out)] == [str(answer) for answer in expected]
    code, out, err = run(["video", "ask", film, "zebra?", "--model", models["qa"]], capsys)
    assert "unknown words: zebra" in err
    code, _, err = run(["video", "ask", film, "what?", "--model", models["captioner"]], capsys)
    assert (code, "keras-vlm train --task video-qa" in err) == (1, True)


def test_summarize(film, models, tmp_path, capsys):
    asked = ["video", "summarize", film, "--model", models["pictures"], "--shots", 2]
    code, out, _ = run([*asked, "--out", tmp_path / "out", "--json"], capsys)
    told = json.loads(out)
    assert code == 0
    assert (len(told["shots"]), len(told["chapters"])) == (3, 2)
    assert [shot["start_seconds"] for shot in told["shots"]] == pytest.approx([0, 2, 4], abs=0.13)
    for kind, path in told["files"].items():
        assert (tmp_path / "out").joinpath(path).stat().st_size, kind
    code, out, _ = run(asked, capsys)
    assert code == 0
    assert out.startswith("0:06 long, 3 shots.")
    assert (film.parent / "film_summary" / "storyboard.html").exists()
    code, _, err = run(
        ["video", "summarize", film, "--model", models["retriever"], "--out", tmp_path / "x"],
        capsys,
    )
    assert (code, "must be a captioner, got a Retriever" in err) == (1, True)


def test_search(film, models, tmp_path, capsys):
    asked = ["video", "search", film, "a red circle", "--model", models["retriever"]]
    code, out, _ = run([*asked, "--index", tmp_path / "index", "--k", 2, "--json"], capsys)
    moments = json.loads(out)
    assert code == 0
    assert 1 <= len(moments) <= 2
    assert moments[0]["path"] == str(film.resolve())
    index, _ = open_index(tmp_path / "index")
    with index:
        assert len(index) == 6
    code, out, err = run([*asked[:3], "a red zebra", *asked[4:]], capsys)
    assert code == 0
    assert "never learned: zebra" in err
    assert str(film.resolve()) in out


@pytest.mark.slow
def test_train_and_evaluate(tmp_path, capsys):
    out = tmp_path / "run"
    code, printed, _ = run(
        ["train", "moving_scenes:16", "--out", out, "--task", "video-caption", "--backbone",
         "conv_small", "--image-size", 32, "--hidden-dim", 16, "--num-frames", F, "--temporal",
         "mean", "--epochs", 1, "--batch-size", 8, "--minimum-count", 1], capsys
    )  # fmt: skip
    assert code == 0
    model = out / "model.keras"
    assert f"keras-vlm video caption clip.mp4 --model {model}" in printed
    code, printed, _ = run(["evaluate", model, "moving_scenes:16", "--split", "val"], capsys)
    assert code == 0
    assert "exact_match" in printed


def test_flags_of_clips_do_not_go_with_pictures(tmp_path, capsys):
    code, _, err = run(
        ["train", "scenes:16", "--out", tmp_path / "b", "--num-frames", 3], capsys
    )
    assert (code, "--num-frames does not go with --task captioning" in err) == (1, True)


def test_export_tells_how_frames_are_sent(tmp_path, capsys):
    video_captioner("mean", "lstm").save(tmp_path / "model.keras")
    arguments = ["export", tmp_path / "model.keras", tmp_path / "served" / "1"]
    code, printed, _ = run(arguments, capsys)
    assert code == 0
    assert '"frame_bytes": [{"b64": "..."}' in printed
    assert "(frame_bytes=frames)" in printed


def test_help_names_the_actions(capsys):
    with pytest.raises(SystemExit):
        main(["video", "--help"])
    out = capsys.readouterr().out
    for action in ("caption", "ask", "summarize", "search"):
        assert f"keras-vlm video {action}" in out
