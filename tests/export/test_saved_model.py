"""The SavedModel: served words equal Python's, in TensorFlow alone and in a server's loader."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from contracts import few
from oracles import scenes_captioner
from PIL import Image
from serving import LOADED_BY_A_SERVER, LOADED_BY_TENSORFLOW, PHOTO, call_apart
from tensorflow.python.saved_model import loader_impl

from keras_vlm import BeamSearch, GreedySearch, ServedCaptioner, export_saved_model
from keras_vlm.fusion import FUSIONS
from keras_vlm.text import TEXT_DECODERS

BEAM = 3
# "attention" is another name for "multi_head".
FUSION_NAMES = [name for name in FUSIONS if name != "attention"]
# tests/tasks/test_combinations.py serves others.
ALWAYS = (("attention_on_attention", "transformer"),)


@pytest.fixture(scope="module")
def captioner():
    return scenes_captioner()


@pytest.fixture(scope="module")
def folder(captioner, tmp_path_factory):
    return export_saved_model(
        captioner, tmp_path_factory.mktemp("served") / "captioner" / "1", beam_size=BEAM, xla=True
    )


@pytest.mark.parametrize(
    "loader", few([LOADED_BY_TENSORFLOW, LOADED_BY_A_SERVER], LOADED_BY_A_SERVER)
)
def test_a_process_without_this_package_gives_the_words_of_python(
    captioner, folder, pictures, loader
):
    found = call_apart(loader, folder, pictures)
    expected = captioner.caption(pictures, beam_size=BEAM, with_scores=True)
    assert found["caption"] == [texts[0][0] for texts in expected]
    np.testing.assert_allclose(found["score"], [texts[0][1] for texts in expected], atol=1e-4)
    assert found["caption"][5] == ""
    assert found["score"][5] == float("-inf")
    assert all(found["caption"][i] for i in range(8) if i != 5)


def test_a_server_with_xla_off_runs_all_but_the_xla_signature(folder, pictures):
    call_apart(LOADED_BY_A_SERVER, folder, pictures[:2], "beam,greedy,n_best")
    with pytest.raises(AssertionError, match="(?i)xla|compil"):
        call_apart(LOADED_BY_A_SERVER, folder, pictures[:2], "beam_xla")


def test_every_signature_is_its_search(captioner, folder, pictures):
    signatures = tf.saved_model.load(folder).signatures
    images = tf.constant(pictures)
    n_best = BeamSearch(BEAM, num_return=BEAM)
    searches = {"beam": BeamSearch(BEAM), "beam_xla": BeamSearch(BEAM), "greedy": GreedySearch()}
    for name, strategy in searches.items():
        found = signatures[name](image_bytes=images)
        expected = captioner.caption(pictures, strategy=strategy)
        assert [text.decode() for text in found["caption"].numpy()] == expected, name
    found = signatures["n_best"](image_bytes=images)
    expected = captioner.caption(pictures, strategy=n_best, with_scores=True)
    for i in (0, 1, 7):
        texts = [text.decode() for text in found["captions"][i].numpy()]
        assert texts == [text for text, _ in expected[i]]
        np.testing.assert_allclose(found["scores"][i], [s for _, s in expected[i]], atol=1e-4)
    assert (found["scores"][5].numpy() == -np.inf).all()


def test_the_interface_is_what_servers_expect(folder):
    loaded = tf.saved_model.load(folder)
    assert (folder / "saved_model.pb").is_file()
    for name, signature in loaded.signatures.items():
        [spec] = signature.structured_input_signature[1].values()
        assert (spec.name, spec.dtype, spec.shape.as_list()) == ("image_bytes", tf.string, [None])
        for output, found in signature.structured_outputs.items():
            # TensorFlow Serving encodes outputs of that name in base64.
            assert not output.endswith("_bytes"), name
            assert found.shape[0] is None, name
    outputs = loaded.signatures["serving_default"].structured_outputs
    assert {name: (out.dtype, out.shape.rank) for name, out in outputs.items()} == {
        "caption": (tf.string, 1),
        "score": (tf.float32, 1),
    }


def test_no_xla_outside_the_signature_that_says_so(captioner, tmp_path):
    folder = export_saved_model(captioner, tmp_path / "1", beam_size=2)
    graph = loader_impl.parse_saved_model(str(folder)).meta_graphs[0]
    nodes = [node for f in graph.graph_def.library.function for node in f.node_def]
    assert not [node.op for node in nodes if node.op.startswith("Xla")]
    functions = graph.graph_def.library.function
    assert not [f.signature.name for f in functions if f.attr["_XlaMustCompile"].b]


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_any_batch(folder, pictures, batch):
    found = tf.saved_model.load(folder).signatures["serving_default"](
        image_bytes=tf.constant(pictures[:batch], tf.string)
    )
    assert found["caption"].shape == found["score"].shape == [batch]


def test_nothing_but_broken_pictures(folder):
    found = tf.saved_model.load(folder).signatures["serving_default"](
        image_bytes=tf.constant([b"", b"words", b"\xff\xd8\xff"])
    )
    assert found["caption"].numpy().tolist() == [b""] * 3
    assert (found["score"].numpy() == -np.inf).all()


@pytest.mark.parametrize(
    "parts", few(itertools.product(FUSION_NAMES, TEXT_DECODERS), *ALWAYS), ids="-".join
)
def test_every_model_is_served_as_it_speaks(parts, pictures, tmp_path):
    fusion, text = parts
    model = scenes_captioner(text, fusion)
    export_saved_model(model, tmp_path / "1", beam_size=BEAM)
    found = tf.saved_model.load(tmp_path / "1").signatures["serving_default"](
        image_bytes=tf.constant(pictures)
    )
    expected = model.caption(pictures, beam_size=BEAM)
    assert [text.decode() for text in found["caption"].numpy()] == expected


@pytest.mark.slow
def test_chinese_is_served(pictures, tmp_path):
    model = scenes_captioner(language="zh")
    export_saved_model(model, tmp_path / "1", beam_size=1)
    found = call_apart(LOADED_BY_A_SERVER, tmp_path / "1", pictures)
    assert found["caption"] == model.caption(pictures, beam_size=1)
    assert max(map(ord, "".join(found["caption"]))) > 0x4E00


@pytest.mark.slow
def test_a_model_read_back_is_exported_alike(captioner, folder, pictures, tmp_path):
    captioner.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    export_saved_model(again, tmp_path / "1", beam_size=BEAM)
    for path in (folder, tmp_path / "1"):
        found = tf.saved_model.load(path).signatures["beam"](image_bytes=tf.constant(pictures))
        assert [text.decode() for text in found["caption"].numpy()] == captioner.caption(
            pictures, beam_size=BEAM
        )


def test_served_captioner_is_a_captioner(captioner, folder, pictures):
    for path in (folder, folder.parent):
        served = ServedCaptioner(path)
        assert served.caption(pictures) == captioner.caption(pictures, beam_size=BEAM)
    assert served.caption(pictures, beam_size=1) == captioner.caption(pictures, beam_size=1)
    assert served.caption(pictures, strategy=BeamSearch(BEAM)) == served.caption(pictures)
    found = served.caption(pictures, with_scores=True, batch_size=3)
    assert [len(texts) for texts in found] == [BEAM] * 8
    array = np.asarray(Image.open(PHOTO).convert("RGB"))
    assert served.caption(array) == captioner.caption(array)


def test_served_captioner_says_what_it_cannot_do(folder, pictures, tmp_path):
    served = ServedCaptioner(folder)
    with pytest.raises(ValueError, match=f"beam_size must be 1 or {BEAM}, got 7"):
        served.caption(pictures, beam_size=7)
    with pytest.raises(ValueError, match=f"beam_size must be 1 or {BEAM}, got BeamSearch"):
        served.caption(pictures, strategy=BeamSearch(BEAM, length_penalty=0.5))
    with pytest.raises(FileNotFoundError, match=r"no saved_model.pb in this folder"):
        ServedCaptioner(tmp_path)
    module = tf.Module()
    module.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec([None])])
    tf.saved_model.save(module, str(tmp_path / "other"), signatures={"serving_default": module.f})
    with pytest.raises(ValueError, match=r"must have the signatures of keras-vlm export.*missing"):
        ServedCaptioner(tmp_path / "other")


def test_an_existing_folder_is_not_overwritten_unasked(captioner, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        export_saved_model(captioner, tmp_path / "1")
    assert (tmp_path / "1" / "mine.txt").read_text() == "keep"
    export_saved_model(captioner, tmp_path / "1", beam_size=1, overwrite=True)
    assert not (tmp_path / "1" / "mine.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_wrong_beam_size(captioner, tmp_path):
    with pytest.raises(ValueError, match="beam_size must be a whole number >= 1, got 0"):
        export_saved_model(captioner, tmp_path / "1", beam_size=0)
