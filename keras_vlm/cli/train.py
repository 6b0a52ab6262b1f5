r"""Train a model, or resume a run that was interrupted: type the same command again.

--task captioning writes a sentence for a picture; --task retrieval finds pictures by a sentence,
and sentences by a picture; --task reranking puts in order what a retriever has found; --task vqa
answers questions about a picture; --task video-caption and --task video-qa do so for clips.

DATA is one of
  scenes                        rendered shapes, no files needed
  folder:DIR                    pictures with captions.jsonl or captions.csv (questions.csv, ...)
  flickr8k:DIR                  the original files of Flickr8k (flickr8k_cn:DIR, flickr30k:DIR)
  coco:ANNOTATIONS.json:DIR     COCO captions, such as 'coco:captions_{split}2014.json:{split}2014';
                                with :INSTANCES.json boxes and masks too
  karpathy:FILE.json:DIR        Karpathy's splits of COCO, Flickr8k or Flickr30k
  webdataset:TARS               shards of pictures and captions, such as 'train-*.tar'
  tfds:NAME                     TensorFlow Datasets, such as tfds:coco_captions
  vqa_v2:QUESTIONS.json:ANNOTATIONS.json:DIR   the official files of VQA v2
  easy_vqa                      easy-VQA, of its PyPI package
and for clips one of
  moving_scenes                 rendered shapes that move, no files needed
  video:DIR                     videos with captions.jsonl or captions.csv (questions.csv, ...)
  msvd:CAPTIONS.txt:DIR         MSVD's file of sentences and its clips
  msr_vtt:ANNOTATIONS.json:DIR  MSR-VTT

OUT gets model.keras (the best epoch), scores.json, log.csv, curves.png, run.json and
cost.json (seconds of each epoch, peak memory).

example:
  keras-vlm train folder:my_photos --out runs/first --text lstm --epochs 10
  keras-vlm train folder:my_photos --out runs/tuned --start runs/first/model.keras \
    --trainable-from block9_expand --augment light --learning-rate 5e-4 --average 0.99
  keras-vlm train folder:my_photos --out runs/best --start runs/tuned/model.keras \
    --objective self_critical --augment flip --learning-rate 5e-5 --average 0.95
  keras-vlm train folder:my_photos --out runs/search --task retrieval --augment flip
  keras-vlm train folder:scans --out runs/vqa --task vqa \
    --keys file=all.json,folder=pictures,image=img_name,question=q,answer=a
  keras-vlm train folder:my_photos --out runs/rerank --task reranking \
    --retriever runs/search/model.keras
  keras-vlm train video:my_clips --out runs/clips --task video-caption \
    --start captioner-lite0-lstm-flickr8k --temporal mean
"""

import argparse
import dataclasses
import json
import pathlib

from keras_vlm.cli.arguments import print_baselines, print_json

HELP = {
    "split": "split to train on",
    "validation_split": "split that chooses the best epoch; never trained on",
    "language": "language of the captions or questions: en or zh",
    "keys": "questions in a folder whose records have other keys, ours=theirs, apart by commas: "
    "image, question, answer, answers, id, question_type, answer_type, split, language, boxes, "
    "labels, questions (a list within a record), records, and file and folder, the names of those "
    "within DIR",
    "answers": "choose among the most frequent, write word by word, or auto: by the data",
    "most_answers": "answers to choose from, at most",
    "activation": "softmax: one answer is right; sigmoid: each may be",
    "balance": "where some answers are rare: none, sampling (draw them as often), loss (weights), "
    "or types: draw each type of question as often",
    "start": "go on from this model of the task, a model.keras or a published name, with its words "
    "and layers (the backbone is frozen again without --trainable-from): to fine-tune, for a "
    "self-critical stage, or for photos of your own; words that it does not know stay unknown",
    "objective": "cross_entropy, or self_critical: follow the CIDEr-D of captions that the model "
    "draws itself; a second stage after --start",
    "num_samples": "with self_critical: captions drawn for each picture",
    "bleu_reward": "with self_critical: what BLEU-4 (0 to 1) counts in a caption's reward beside "
    "CIDEr-D (0 to 10)",
    "cross_entropy_share": "with self_critical: share, 0 to 1, of the references' cross-entropy in "
    "the loss",
    "backbone": "vgg16, efficientnet_b0, efficientnet_lite0 (weights included), conv_small, ..., "
    "hub:DIR_OR_URL, keras_hub:PRESET, or a model of this package, whose encoder is taken over",
    "trainable_from": "fine-tune the backbone from this layer on; 'all' for all of it",
    "temporal": "how frames become one memory: mean, lstm, transformer (where nothing is given), "
    "concat or attention; with --start a model of pictures, how its frames do; left out with "
    "--backbone a model of clips, as in that model, with its weights",
    "num_frames": "frames of a clip, spread evenly over it; 8, or that model's, where nothing is "
    "given",
    "text": "text layers: lstm, gru or transformer; for retrieval and questions also cnn, bag, or "
    "keras_hub:PRESET with its own words; for retrieval several, gru+gru+bag with --dim 768, each "
    "with a head of its own: an ensemble in one model",
    "fusion": "how words look at the picture: attention, additive, dot_product, concat; for "
    "captions and re-ranking also adaptive, attention_on_attention; for questions also "
    "stacked_attention, hadamard, co_attention, cross_attention",
    "norm": "layers of --text transformer normalise before or after each part",
    "positions": "how --text transformer knows the order of words: learned, sinusoidal or relative",
    "tie_words": "whether a word has one vector to be read and to be written by",
    "fusion_layers": "layers of co_attention or cross_attention",
    "position_scale": "above 0 (4, say): how loudly picture tokens say at first where they lie",
    "retriever": "the retriever whose answers are put in order, by name or file: training begins "
    "with its backbone (frozen), words and text layers",
    "hidden_dim": "width of the text layers; of a re-ranker, of the layers where words and picture "
    "meet",
    "dim": "width of the common space, which heads share evenly",
    "loss": "contrastive (CLIP), sigmoid (SigLIP) or triplet (VSE++)",
    "image_pooling": "how a picture's tokens become one vector: attention, mean or max",
    "text_pooling": "how a sentence's words become one vector: attention, mean or max",
    "gradient_cache": "pictures that go through the towers at once: large batches, little memory",
    "dropout": "share of the words' units dropped",
    "attention_dropout": "share of the fusion's weights dropped, where it has heads",
    "word_dropout": "share of the words read as the unknown word in training",
    "memory_dropout": "share of the picture's units dropped",
    "image_size": "pixels a side; 224 where nothing is given, or what the model of --start or "
    "--backbone looks at, which often sees better somewhat larger",
    "resize": "pictures of another aspect: stretch, crop (the middle) or pad (on black)",
    "regions": "picture tokens: grid, boxes or masks of the data, or several: grid+boxes",
    "max_regions": "boxes, and masks, of a picture at most",
    "augment": "flip (also with a feature cache), light, standard",
    "cache": "folder of the feature cache; 'auto' is OUT/features where one is possible, "
    "'auto:DIR' a folder that several runs share",
    "unit": "what text is split into: word, character, jieba (Chinese words; captioning) or piece "
    "(trained parts of words)",
    "minimum_count": "words seen fewer times are unknown",
    "max_length": "positions of a caption or question, start and end included",
    "word_vectors": "begin with the vectors of a word2vec, GloVe or fastText text file, for words "
    "that the data seldom say",
    "epochs": "passes over the training split",
    "batch_size": "pictures a step",
    "captions_per_image": "captions, or questions, of each picture a step",
    "optimizer": "adamw, adam or sgd",
    "learning_rate": "its peak",
    "schedule": "how the learning rate goes on after its warm-up: cosine, linear, constant or "
    "inverse_sqrt",
    "warmup": "share of the steps over which the learning rate rises from 0 to its peak",
    "backbone_rate": "peak of the backbone's layers that learn (--trainable-from), where it is "
    "to be another",
    "weight_decay": "of adamw",
    "label_smoothing": "share of the target spread over the vocabulary; of retrieval, over the "
    "batch",
    "scheduled_sampling": "probability, at the end, with which a word that is fed is the model's "
    "own; rises from 0",
    "attention_regularization": "above 0 (1, say): weight of the cost of parts of the picture that "
    "a caption passes over",
    "average": "momentum of the moving average of the weights that is scored and kept; 0: none",
    "patience": "epochs without a better score before stopping",
    "precision": "float32, mixed_bfloat16 or mixed_float16",
    "seed": "everything random flows from it",
}


NEXT = {
    "captioning": """  keras-vlm caption {model} photo.jpg
  keras-vlm evaluate {model} {data} --split test{more} --beam-size 5
  keras-vlm export {model} {out}/served/1""",
    "retrieval": """  keras-vlm index DIR --model {model} --out {out}/index
  keras-vlm evaluate {model} {data} --split test{more}
  keras-vlm export {model} {out}/served/1""",
    "vqa": """  keras-vlm ask {model} photo.jpg "what is there?"
  keras-vlm evaluate {model} {data} --split test{more}
  keras-vlm export {model} {out}/served/1""",
    "video-caption": """  keras-vlm video caption clip.mp4 --model {model}
  keras-vlm evaluate {model} {data} --split test{more}
  keras-vlm export {model} {out}/served/1""",
    "video-qa": """  keras-vlm video ask clip.mp4 "what happens?" --model {model}
  keras-vlm evaluate {model} {data} --split test{more}
  keras-vlm export {model} {out}/served/1""",
    "reranking": """  keras-vlm evaluate {retriever} {data} --split test{more} --rerank {model}
  keras-vlm index DIR --model {retriever} --out {out}/index
  keras-vlm search {out}/index "a dog in the snow" --rerank {model}""",
}


def add_arguments(parser):
    """Adds a flag for each field of the tasks' runs."""
    runs = {task: _options(kind) for task, (kind, _) in _tasks().items()}
    parser.add_argument("data", metavar="DATA", help="a data source, see above")
    parser.add_argument("--out", required=True, help="output folder")
    parser.add_argument(
        "--task", choices=runs, default="captioning", help="what to train (default: captioning)"
    )
    kinds = {"float": float, "int": int, "int | None": int, "float | None": float}
    for name in dict.fromkeys(name for fields in runs.values() for name in fields):
        if name in {"data", "out"}:
            continue
        fields = {task: fields[name] for task, fields in runs.items() if name in fields}
        field = next(iter(fields.values()))
        kind = str(getattr(field.type, "__name__", field.type))
        # --tie-words and --no-tie-words.
        switch = {"action": argparse.BooleanOptionalAction}
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            **(switch if kind == "bool" else {"type": kinds.get(kind, str)}),
            help=HELP[name] + _describe_defaults(fields, runs),
        )
    parser.add_argument("--json", action="store_true", help="print the best scores as JSON")


def run(options):
    """Trains, and says what to type next.

    Raises:
        ValueError: a flag is given that the task does not have.
    """
    tasks = _tasks()
    kind, train = tasks[options.task]
    known = {name for each, _ in tasks.values() for name in _options(each)}
    given = {name: value for name, value in vars(options).items() if name in known}
    for name in given:
        if name not in _options(kind):
            raise ValueError(f"--{name.replace('_', '-')} does not go with --task {options.task}.")
    chosen = kind(**given)
    train(chosen, verbose=0 if options.json else 1)
    out = pathlib.Path(chosen.out)
    summary = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    model = out / "model.keras"
    if options.json:
        print_json({"model": str(model), **summary})
        return
    best = summary["best"]
    when = f"epoch: {best['epoch'] + 1}" if best["epoch"] >= 0 else f"of all: {chosen.start} itself"
    print(f"\nBest {when}, by {summary['monitor']} on {chosen.validation_split}")
    for name, score in best["scores"].items():
        print(f"{name:26s} {score:.4f}")
    print_baselines(summary.get("baselines", {}))
    print(f"signature  {summary['signature']}")
    print(f"\nWritten: {model}, {out / 'curves.png'}, {out / 'log.csv'}\nNext:")
    more = "" if chosen.language == "en" else f" --language {chosen.language}"
    more += f" --keys {chosen.keys}" if getattr(chosen, "keys", None) else ""
    told = {**vars(chosen), "model": model, "out": out, "more": more}
    print(NEXT[options.task].format(**told))


def _tasks():
    """Returns for each task the options of its run and the function that trains."""
    from keras_vlm.training.runs import RUNS

    return RUNS


def _options(kind):
    """Returns the fields of a run by name."""
    return {field.name: field for field in dataclasses.fields(kind)}


def _describe_defaults(fields, runs):
    """Returns the defaults of an option, and which tasks have it where not all do."""
    defaults = {task: field.default for task, field in fields.items()}
    if len(set(defaults.values())) > 1:
        told = ", ".join(f"{task} {default}" for task, default in defaults.items())
        return f" (default: {told})"
    only = f"{', '.join(defaults)}; " if len(fields) < len(runs) else ""
    default = next(iter(defaults.values()))
    told = only + ("" if default is None else f"default: {default}")
    return f" ({told.removesuffix('; ')})" if told else ""
