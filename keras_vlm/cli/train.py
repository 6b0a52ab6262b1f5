r"""Train a captioner, or resume a run that was interrupted: type the same command again.

DATA is one of
  scenes                        rendered shapes, no files needed
  folder:DIR                    pictures with captions.jsonl or captions.csv
  flickr8k:DIR                  the original files of Flickr8k
  coco:ANNOTATIONS.json:DIR     COCO captions
  tfds:coco_captions            TensorFlow Datasets

OUT gets model.keras (the best epoch), scores.json, log.csv, curves.png and run.json.

example:
  keras-vlm train folder:my_photos --out runs/first --text lstm --epochs 10
  keras-vlm train folder:my_photos --out runs/tuned --start runs/first/model.keras \
    --trainable-from block9_expand --augment light --learning-rate 5e-4 --average 0.99
  keras-vlm train folder:my_photos --out runs/best --start runs/tuned/model.keras \
    --objective self_critical --augment flip --learning-rate 5e-5 --average 0.95
"""

import dataclasses
import json
import pathlib

from keras_vlm.cli.arguments import print_json

HELP = {
    "split": "split to train on",
    "validation_split": "split that chooses the best epoch; never trained on",
    "language": "language of the captions: en or zh",
    "start": "go on from this captioner, a model.keras or a published name, with its words and "
    "layers (the backbone is frozen again without --trainable-from): to fine-tune, for a "
    "self-critical stage, or for photos of your own; words that it does not know stay unknown",
    "objective": "cross_entropy, or self_critical: follow the CIDEr-D of captions that the model "
    "draws itself; a second stage after --start",
    "backbone": "vgg16, efficientnet_b0, efficientnet_lite0 (weights included), conv_small, ...",
    "trainable_from": "fine-tune the backbone from this layer on; 'all' for all of it",
    "text": "text layers: lstm or transformer",
    "fusion": "how words look at the picture: attention, additive, dot_product, concat",
    "hidden_dim": "model width",
    "dropout": "share of the words' units dropped",
    "memory_dropout": "share of the picture's units dropped",
    "image_size": "pixels a side",
    "resize": "pictures of another aspect: stretch, crop (the middle) or pad (on black)",
    "augment": "flip (also with a feature cache), light, standard",
    "cache": "folder of the feature cache; 'auto' is OUT/features where one is possible",
    "minimum_count": "words seen fewer times are unknown",
    "max_length": "positions of a caption, start and end included",
    "epochs": "passes over the training split",
    "batch_size": "pictures a step",
    "captions_per_image": "captions of each picture a step",
    "optimizer": "adamw, adam or sgd",
    "learning_rate": "peak; warms up over 5 %% of the steps, then falls as a cosine",
    "weight_decay": "of adamw",
    "label_smoothing": "share of the target spread over the vocabulary",
    "average": "momentum of the moving average of the weights that is scored and kept; 0: none",
    "patience": "epochs without a better CIDEr-D before stopping",
    "precision": "float32, mixed_bfloat16 or mixed_float16",
    "seed": "everything random flows from it",
}


def add_arguments(parser):
    """Adds a flag for each field of ``CaptioningRun``."""
    from keras_vlm.training.captioning_run import CaptioningRun

    parser.add_argument("data", metavar="DATA", help="a data source, see above")
    parser.add_argument("--out", required=True, help="output folder")
    kinds = {"float": float, "int": int, "int | None": int}
    for field in dataclasses.fields(CaptioningRun):
        if field.name in {"data", "out"}:
            continue
        default = "" if field.default is None else f" (default: {field.default})"
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            default=field.default,
            type=kinds.get(str(getattr(field.type, "__name__", field.type)), str),
            help=HELP[field.name] + default,
        )
    parser.add_argument("--json", action="store_true", help="print the best scores as JSON")


def run(options):
    """Trains, and says what to type next."""
    from keras_vlm.training.captioning_run import CaptioningRun, train_captioner

    names = [field.name for field in dataclasses.fields(CaptioningRun)]
    chosen = CaptioningRun(**{name: getattr(options, name) for name in names})
    train_captioner(chosen, verbose=0 if options.json else 1)
    out = pathlib.Path(chosen.out)
    summary = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    if options.json:
        print_json({"model": str(out / "model.keras"), **summary})
        return
    best = summary["best"]
    when = f"epoch: {best['epoch'] + 1}" if best["epoch"] >= 0 else f"of all: {chosen.start} itself"
    print(f"\nBest {when}, by CIDEr-D on {chosen.validation_split}")
    for name, score in best["scores"].items():
        print(f"{name:10s} {score:.4f}")
    print(f"""signature  {summary["signature"]}

Written: {out / "model.keras"}, {out / "curves.png"}, {out / "log.csv"}
Next:
  keras-vlm caption {out / "model.keras"} photo.jpg
  keras-vlm evaluate {out / "model.keras"} {chosen.data} --split test --beam-size 5
  keras-vlm export {out / "model.keras"} {out / "served" / "1"}""")
