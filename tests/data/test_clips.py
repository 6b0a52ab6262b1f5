"""Splits and batches of clips: frames as they are, cached and decoded alike; sources of videos."""

import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from videos import grey_ramp, number_of, write_video

from keras_vlm import Backbone, DataError, Tokenizer, load_data
from keras_vlm.data import clip_inputs
from keras_vlm.data.clip_batches import CachedClips, DecodedClips, caption_batches
from keras_vlm.data.clip_inputs import count_clips, is_single_clip, read_clips
from keras_vlm.data.feature_cache import FeatureCache
from keras_vlm.data.moving_scenes import draw_moving_scenes, render_clip
from keras_vlm.data.pipeline import EpochSeed
from keras_vlm.text.cleaning import swap_left_right
from keras_vlm.vision.augmentation import AUGMENTATIONS
from keras_vlm.vision.frame_encoder import FrameEncoder

F = 4
SIZE = (32, 32)


@pytest.fixture(scope="module")
def examples():
    return load_data("moving_scenes:14")["train"]


@pytest.fixture(scope="module")
def tokenizer(examples):
    return Tokenizer.fit(examples, minimum_count=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven videos, one of them broken."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "videos").mkdir()
    for number in range(6):
        frames = (pixels + np.uint8(number) for pixels in grey_ramp(20))
        write_video(folder / "videos" / f"v{number}.mp4", frames)
    (folder / "videos" / "v6.mp4").write_bytes(b"not a video")
    return folder


def test_frames_of_a_batch_are_the_clips(examples, tokenizer):
    clips = DecodedClips(examples, F, (64, 64), "stretch")
    [(inputs, targets)] = caption_batches(clips, examples, tokenizer, 14, captions_per_image=2)
    assert inputs["frames"].shape == (14, F, 64, 64, 3)
    scenes = draw_moving_scenes(14)
    for frames, scene in zip(inputs["frames"], scenes, strict=True):
        np.testing.assert_array_equal(frames, render_clip(scene, F))
    assert targets.shape == (14, 2, tokenizer.max_length - 1)
    np.testing.assert_array_equal(inputs["token_ids"][..., 1:], targets[..., :-1])
    said = tokenizer.detokenize(targets[3]).numpy()
    true = tokenizer.detokenize(tokenizer(examples.captions[3])[:, 1:]).numpy()
    assert set(said) <= set(true)


def test_an_epochs_order_is_a_function_of_the_seed(examples, tokenizer):
    clips = DecodedClips(examples, F, SIZE, "stretch")

    def order(seed):
        made = caption_batches(clips, examples, tokenizer, 7, epoch_seed=EpochSeed(seed))
        return np.concatenate([inputs["frames"] for inputs, _ in made])

    np.testing.assert_array_equal(order(1), order(1))
    assert (order(1) != order(2)).any()
    # All of them, each once: the sums are those of the split's own order.
    plain = caption_batches(clips, examples, tokenizer, 7)
    plain = np.concatenate([inputs["frames"] for inputs, _ in plain])
    np.testing.assert_allclose(
        np.sort(order(1).sum(axis=(1, 2, 3, 4))), np.sort(plain.sum(axis=(1, 2, 3, 4)))
    )


def test_a_clip_is_mirrored_as_a_whole_and_so_are_its_captions(examples, tokenizer):
    augmentation = AUGMENTATIONS["flip"]
    clips = DecodedClips(examples, F, SIZE, "stretch", augmentation)
    plain = DecodedClips(examples, F, SIZE, "stretch")

    def read(some):
        places = tf.data.Dataset.range(len(examples))
        return list(places.map(lambda place: some.read(place, tf.stack([5, place]))))

    mirrored = 0
    for (frames, flipped), (expected, _) in zip(read(clips), read(plain), strict=True):
        mirrored += int(flipped)
        np.testing.assert_array_equal(frames, expected[:, :, ::-1] if flipped else expected)
    assert 0 < mirrored < len(examples)
    made = caption_batches(clips, examples, tokenizer, 14, epoch_seed=EpochSeed(3))
    [(inputs, targets)] = made
    said = tokenizer.detokenize(targets).numpy()
    whole = {frames.numpy().tobytes(): place for place, (frames, _) in enumerate(read(plain))}
    other = {f.numpy()[:, :, ::-1].tobytes(): p for p, (f, _) in enumerate(read(plain))}
    for frames, texts in zip(inputs["frames"].numpy(), said, strict=True):
        kept = frames.tobytes() in whole
        place = whole[frames.tobytes()] if kept else other[frames.tobytes()]
        true = tokenizer.detokenize(tokenizer(examples.captions[place])[:, 1:])
        true = true if kept else swap_left_right(true)
        assert set(texts) - {b""} <= set(true.numpy())


def test_cached_features_are_those_of_the_decoded_frames(examples, tokenizer, tmp_path):
    backbone = Backbone("conv_small", image_size=32, weights=None)
    encoder = FrameEncoder(backbone, F)
    caches = [FeatureCache(tmp_path, backbone, mirror=mirror) for mirror in (False, True)]
    clips = CachedClips(examples, F, caches[:1])
    [(inputs, targets)] = caption_batches(clips, examples, tokenizer, 14)
    decoded = DecodedClips(examples, F, SIZE, "stretch")
    [(expected, expected_targets)] = caption_batches(decoded, examples, tokenizer, 14)
    features = encoder(expected["frames"])
    np.testing.assert_allclose(inputs["frame_features"], features, atol=2e-3)
    np.testing.assert_array_equal(targets, expected_targets)
    # Of two views a clip draws one: either that of its frames, or of all of them mirrored.
    clips = CachedClips(examples, F, caches)
    [(inputs, _)] = caption_batches(clips, examples, tokenizer, 14, epoch_seed=EpochSeed(0))
    views = np.stack([features, encoder(expected["frames"][:, :, :, ::-1])])
    seen = set()
    for found in inputs["frame_features"].numpy():
        apart = np.abs(views - found).max(axis=(2, 3, 4))
        assert apart.min() < 2e-3
        seen.add(int(np.argmin(apart.min(axis=1))))
    assert seen == {0, 1}


def test_pictures_are_no_clips(tokenizer):
    pictures = load_data("scenes:5")["train"]
    with pytest.raises(TypeError, match=r"examples must be a split of clips, got .*scenes:train"):
        DecodedClips(pictures, F, SIZE, "stretch")


def test_a_folder_of_videos(folder, tokenizer, capfd, caplog):
    lines = [f"v{i}.mp4,a red circle,{'val' if i == 1 else 'train'}" for i in range(7)]
    (folder / "captions.csv").write_text("video,caption,split\n" + "\n".join(lines))
    data = load_data(f"video:{folder}")
    assert set(data) == {"train", "val"}
    train = data["train"]
    assert train.image_ids == [f"v{i}.mp4" for i in (0, 2, 3, 4, 5, 6)]
    frames = tf.map_fn(tf.io.decode_bmp, train.read_frames(1, F), fn_output_signature=tf.uint8)
    assert [number_of(p) - 1 for p in frames.numpy()] == pytest.approx([2, 7, 12, 17], abs=1.6)
    assert train.read_frames(5, F).numpy().tolist() == [b""] * F
    clips = DecodedClips(train, F, SIZE, "stretch")
    [(inputs, targets)] = caption_batches(clips, train, tokenizer, 6)
    assert (targets[:5, 0, 0].numpy() > 0).all()
    # A broken video is told of, and teaches nothing.
    assert (targets[5].numpy() == 0).all()
    assert (inputs["frames"][5].numpy() == 0).all()
    assert "v6.mp4" in capfd.readouterr().err
    # Questions beside them: a task reads its own.
    (folder / "questions.csv").write_text("video,question,answer\nv0.mp4,what is it?,grey\n")
    assert load_data(f"video:{folder}", texts="captions")["train"].captions == train.captions
    asked = load_data(f"video:{folder}", texts="questions")["train"]
    assert (asked.captions, asked.questions[0][0].answer) == (None, "grey")
    assert not caplog.text
    assert load_data(f"video:{folder}")["train"].captions is None
    assert "has captions.csv and questions.csv. The questions are read; texts=" in caplog.text
    with pytest.raises(ValueError, match="texts must be one of 'captions', 'questions', got 'all'"):
        load_data(f"video:{folder}", texts="all")
    (folder / "questions.csv").unlink()
    (folder / "captions.csv").unlink()
    questions = [{"video": "v0.mp4", "question": "what is it?", "answer": "grey"}]
    path = folder / "questions.jsonl"
    path.write_text("\n".join(json.dumps({**questions[0], "split": "train"}) for _ in range(2)))
    asked = load_data(f"video:{folder}")["train"]
    assert [q.answer for q in asked.questions[0]] == ["grey", "grey"]
    assert asked.read_frames(0, 2).shape == (2,)
    path.write_text(json.dumps({"clip": "v0", "q": "what is it?", "a": "grey", "split": "train"}))
    keyed = load_data(f"video:{folder}", keys="image=clip,question=q,answer=a")["train"]
    assert keyed.questions[0][0].text == "what is it?"
    assert keyed.paths[0].name == "v0.mp4"
    path.unlink()
    with pytest.raises(DataError, match="video: .* has 0 videos and no captions"):
        load_data(f"video:{folder}")


def test_without_pyav_a_source_of_videos_says_so(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "captions.csv").write_text("video,caption\na.mp4,a dog\n", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'keras-vlm\[video\]'"):
        load_data(f"video:{tmp_path}")["train"]


def test_msvd(folder, tmp_path):
    lines = [f"v{i} a thing number {i}\nv{i} it is grey" for i in (3, 1, 5, 0, 2, 4)]
    path = tmp_path / "AllVideoDescriptions.txt"
    path.write_text("# a comment\n\n" + "\n".join(lines))
    data = load_data(f"msvd:{path}:{folder / 'videos'}")
    # 1,200, 100 and 670 of 1,970, by the names' order.
    assert {split: data[split].image_ids for split in data} == {
        "train": ["v0", "v1", "v2", "v3"], "val": ["v4"], "test": ["v5"],
    }  # fmt: skip
    assert data["val"].captions == [["a thing number 4", "it is grey"]]
    assert data["val"].read_frames(0, 3).shape == (3,)
    table = tmp_path / "corpus.csv"
    table.write_text(
        "VideoID,Start,End,Language,Description\nv,0,5,English,a dog\nv,0,5,Chinese,一只狗\n"
        "w,1,2,English,a cat\nw,1,2,English,\n"
    )
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("v_0_5", "w_1_2"):
        write_video(clips / f"{name}.avi", grey_ramp(3))
    english = load_data(f"msvd:{table}:{clips}")
    assert english["train"].captions == [["a dog"]]
    chinese = load_data(f"msvd:{table}:{clips}", language="zh")
    assert chinese["train"].captions == [["一只狗"]]
    # In every language a clip is in the same split, as in the mapping that others use.
    records = [("-z_9_9", "Chinese"), ("-z_10_12", "English"), ("a_1_2", "Serbian"),
               ("Z_1_2", "English"), ("b_1_2", "Chinese"), ("c_1_2", "English")]  # fmt: skip
    lines = [f"{','.join(name.rsplit('_', 2))},{language},text" for name, language in records]
    table.write_text("VideoID,Start,End,Language,Description\n" + "\n".join(lines))
    for name, _ in records:
        write_video(clips / f"{name}.avi", grey_ramp(3))
    splits = {
        language: {
            split: part.image_ids
            for split, part in load_data(f"msvd:{table}:{clips}", language=language).items()
        }
        for language in ("en", "zh")
    }
    # In order: -z_10_12, -z_9_9, Z_1_2, a_1_2 | b_1_2 | c_1_2.
    assert splits == {
        "en": {"train": ["-z_10_12", "Z_1_2"], "test": ["c_1_2"]},
        "zh": {"train": ["-z_9_9"], "val": ["b_1_2"]},
    }
    path.write_text("v0\n")
    with pytest.raises(DataError, match=r"txt:1: the line must be a clip's name, a space and"):
        load_data(f"msvd:{path}:{folder / 'videos'}")
    with pytest.raises(ValueError, match="name must be msvd:CAPTIONS.txt:CLIPS_DIR, got 'msvd:x'"):
        load_data("msvd:x")


def test_msr_vtt(folder, tmp_path):
    path = tmp_path / "videodatainfo.json"
    content = {
        "videos": [
            {"video_id": "v0", "split": "train"}, {"video_id": "v1", "split": "validate"},
            {"video_id": "v2", "split": "train"}, {"video_id": "gone", "split": "train"},
        ],
        "sentences": [
            {"video_id": "v0", "caption": "one"}, {"video_id": "v0", "caption": "uno"},
            {"video_id": "v1", "caption": "two"}, {"video_id": "v2", "caption": "three"},
            {"video_id": "gone", "caption": "four"},
        ],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    data = load_data(f"msr_vtt:{path}:{folder / 'videos'}")
    assert data["train"].image_ids == ["v0", "v2"]
    assert data["train"].captions == [["one", "uno"], ["three"]]
    assert data["train"].skipped == {"missing": ["gone"]}
    assert data["val"].captions == [["two"]]
    content["sentences"].append({"video_id": "nobody", "caption": "five"})
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"sentences\[5\]: video_id must be among the videos"):
        load_data(f"msr_vtt:{path}:{folder / 'videos'}")
    del content["videos"][1]["split"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"videos\[1\]: key 'split' is missing"):
        load_data(f"msr_vtt:{path}:{folder / 'videos'}")


def test_whatever_is_called_a_video(folder, examples, caplog):
    path = folder / "videos" / "v0.mp4"
    arrays = [render_clip(scene, 8) for scene in draw_moving_scenes(3)]
    [(frames, valid)] = read_clips(path, F, SIZE)
    assert (frames.shape, valid.numpy().tolist()) == ((1, F, *SIZE, 3), [True])
    [(several, _)] = read_clips([str(path), path], F, SIZE)
    np.testing.assert_array_equal(several, np.concatenate([frames, frames]))
    [(chosen, _)] = read_clips(arrays, F, (64, 64))
    np.testing.assert_array_equal(chosen, [array[[1, 3, 5, 7]] for array in arrays])
    [(stacked, _)] = read_clips(np.stack(arrays).astype(np.float32), F, (64, 64))
    np.testing.assert_array_equal(stacked, chosen)
    batches = list(read_clips(examples, F, (64, 64), batch_size=5))
    assert [len(batch) for batch, _ in batches] == [5, 5, 4]
    np.testing.assert_array_equal(batches[0][0][1], render_clip(draw_moving_scenes(2)[1], F))
    [(frames, valid)] = read_clips([path, folder / "videos" / "v6.mp4"], F, SIZE)
    assert valid.numpy().tolist() == [True, False]
    assert "v6.mp4: cannot be read as a video" in caplog.text
    assert is_single_clip(str(path))
    assert is_single_clip(arrays[0])
    assert not is_single_clip(np.stack(arrays))
    assert [count_clips(v) for v in (path, arrays, examples, iter(arrays))] == [1, 3, 14, None]
    for wrong in ([b"bytes"], [arrays[0][0]], 7, {"a": 1}, [np.zeros((0, 8, 8, 3))]):
        with pytest.raises(TypeError, match="videos: a video must"):
            list(read_clips(wrong, F, SIZE))
    with pytest.raises(FileNotFoundError, match="no such video"):
        list(read_clips("gone.mp4", F, SIZE))


def test_whole_frames_are_held_of_one_clip_at_a_time(monkeypatch):
    held = []
    decode = clip_inputs.decode_pictures

    def counted(clip, *size):
        held.append(len(clip))
        return decode(clip, *size)

    monkeypatch.setattr(clip_inputs, "decode_pictures", counted)
    clips = (render_clip(scene, F) for scene in draw_moving_scenes(5))
    assert [len(frames) for frames, _ in read_clips(clips, F, SIZE, batch_size=3)] == [3, 2]
    assert held == [F] * 5


def test_a_picture_model_reads_a_clip_as_its_middle_frame(examples):
    keras.utils.set_random_seed(0)
    element = next(iter(examples.dataset()))
    [expected] = render_clip(draw_moving_scenes(1)[0], 1)
    np.testing.assert_array_equal(tf.io.decode_bmp(element["image_bytes"]), expected)
    assert set(element) == {
        "image_bytes", "image_id", "index", "captions", "questions", "answers",
    }  # fmt: skip
