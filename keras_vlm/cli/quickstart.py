"""The whole job in a few minutes, without a network: render data, train, score, export, look.

It trains a small captioner from scratch on rendered scenes (coloured shapes with captions), scores
it on scenes it has not seen beside the best caption that does not look, exports it as one
SavedModel, calls that with TensorFlow alone, and captions real photos with a published model.

example:
  keras-vlm quickstart --out quickstart --language zh
"""

import pathlib
import time

from keras_vlm.cli.arguments import print_text

PHOTOS = pathlib.Path(__file__).parents[1] / "data" / "photos"
PUBLISHED = "captioner-lite0-lstm-flickr8k"
PUBLISHED_CHINESE = "captioner-lite0-transformer-flickr8k-zh"

NEXT = """What to type next:
  keras-vlm caption {published} your_photo.jpg
  keras-vlm train folder:YOUR_PHOTOS --out runs/first     pictures and captions.csv (image,caption)
  keras-vlm evaluate runs/first/model.keras folder:YOUR_PHOTOS --split test
  keras-vlm export runs/first/model.keras served/captioner/1
  keras-vlm train --help"""


def add_arguments(parser):
    """Adds the flags."""
    parser.add_argument("--out", default="quickstart", help="output folder (default: quickstart)")
    parser.add_argument("--language", default="en", help="language to train on: en or zh")
    parser.add_argument("--scenes", type=int, default=2000, help="scenes to train on")
    parser.add_argument("--epochs", type=int, default=10, help="passes over them")
    parser.add_argument("--seed", type=int, default=0, help="everything random flows from it")


def run(options):
    """Does the job, one step after the other, saying what happens."""
    began = time.time()
    out = pathlib.Path(options.out)
    model, data = _train(options, out)
    _score(model, data, out)
    _serve(model, data["test"], out)
    _look(out)
    print(f"\nDone in {time.time() - began:.0f} s.\n")
    print(NEXT.format(published=PUBLISHED))


def _train(options, out):
    from keras_vlm.data import load_data
    from keras_vlm.training.captioning_run import CaptioningRun, train_captioner

    name = f"scenes:{options.scenes}"
    print(f"1/4  Train from scratch on {options.scenes} rendered scenes")
    for language in ("en", "zh"):
        print_text(f"     {language}: {load_data(name, language=language)['val'].captions[0][0]}")
    model = train_captioner(
        CaptioningRun(
            data=name,
            out=str(out / "run"),
            language=options.language,
            backbone="conv_small",
            image_size=64,
            text="lstm",
            hidden_dim=128,
            dropout=0.1,
            minimum_count=1,
            epochs=options.epochs,
            learning_rate=2e-3,
            seed=options.seed,
        )
    )
    return model, load_data(name, language=options.language)


def _score(model, data, out):
    from keras_vlm.training.baselines import best_constant_caption
    from keras_vlm.training.evaluate import evaluate

    print(f"\n2/4  Score on {len(data['test'])} scenes it has not seen")
    found = evaluate(model, data["test"], verbose=0)
    constant, constant_scores = best_constant_caption(data["train"], data["test"])
    print(f"     {'':8s}   this model   best constant caption")
    for name in ("CIDEr-D", "BLEU-1", "BLEU-4", "ROUGE-L"):
        print(f"     {name:8s} {found.scores[name]:12.3f} {constant_scores[name]:23.3f}")
    print_text(f'     The constant caption: "{constant}"')
    found.save(out / "test.json")


def _serve(model, examples, out):
    import tensorflow as tf

    from keras_vlm.export.saved_model import export_saved_model

    folder = out / "served" / "1"
    print(f"\n3/4  Export to {folder}, load it with TensorFlow alone, send it bytes")
    export_saved_model(model, folder, overwrite=True)
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    # Examples differ in their numbers of questions; their pictures alone make a batch.
    pictures = examples.dataset().map(lambda example: example["image_bytes"])
    answer = served(image_bytes=next(iter(pictures.batch(3))))
    for caption, score, truth in zip(
        answer["caption"].numpy(), answer["score"].numpy(), examples.captions, strict=False
    ):
        print_text(f"     {caption.decode('utf-8')}   ({score:.2f})   a reference: {truth[0]}")


def _look(out):
    from keras_vlm.explain.attention import attend_words, plot_attention
    from keras_vlm.zoo import load

    print(f"\n4/4  Real photos, by {PUBLISHED} and {PUBLISHED_CHINESE}")
    captioner = load(PUBLISHED)
    paths = sorted(PHOTOS.glob("*.jpg"))
    captions = captioner.caption(paths)
    chinese = load(PUBLISHED_CHINESE).caption(paths)
    for path, caption, other in zip(paths, captions, chinese, strict=True):
        print_text(f"     {path.name}: {caption}   {other}")
    picture = out / "attention.png"
    plot_attention(attend_words(captioner, paths, captions), picture)
    print(f"     Photos, captions and where each word looked: {picture}")
