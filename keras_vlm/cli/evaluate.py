"""Score a model on a data split.

A captioner: BLEU, ROUGE-L and CIDEr-D of freely written captions. A retriever: R@1, R@5, R@10,
median rank and mAP, by picture and by sentence; with --rerank, those of its first answers in a
re-ranker's order. A model that answers questions: the official VQA accuracy, overall and by type,
beside who does not look at the picture: the most frequent answer, and the best guess by the
question's words, both learned from the split of --training-split.

--shuffle-pictures scores the same split with its pictures permuted, each judged by the texts of
another: what is left of the scores needs no picture.

MODEL is the name of a published model, a .keras file, a SavedModel folder, or several of the first
two joined by `+`: an ensemble, whose word probabilities are averaged. DATA is a data source (see
`keras-vlm train --help`). Caption scores equal those of pycocoevalcap; the signature says how
scores were made, and scores with different signatures do not compare.

example:
  keras-vlm evaluate captioner-lite0-lstm-flickr8k flickr8k:DIR --split dev --json scores.json
  keras-vlm evaluate captioner.keras flickr8k:DIR --split dev --without-penalty --meteor
  keras-vlm evaluate captioner.keras flickr8k:DIR --split dev --shuffle-pictures
  keras-vlm evaluate retriever.keras flickr8k:DIR --rerank reranker.keras
  keras-vlm evaluate vqa.keras easy_vqa --confusion confusion.png --reliability reliability.png
"""

import sys

from keras_vlm.cli.arguments import (
    add_search_arguments,
    open_model,
    open_reranker,
    print_baselines,
)


def add_arguments(parser):
    """Adds the flags."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--split", default="test", help="split to score (default: test)")
    parser.add_argument("--language", default="en", help="language of the captions: en or zh")
    parser.add_argument("--keys", help="as for keras-vlm train --task vqa")
    parser.add_argument(
        "--training-split",
        default="train",
        help="split from which the baselines of answers learn (default: train)",
    )
    parser.add_argument(
        "--reliability", metavar="PNG", help="of answers: draw confidence against accuracy"
    )
    parser.add_argument(
        "--confusion", metavar="PNG", help="of answers: draw which was taken for which"
    )
    add_search_arguments(parser, "a captioner's: ")
    parser.add_argument(
        "--length-penalty",
        type=float,
        help="a captioner's: hypotheses of the beam are compared by log-probability over length to "
        "this power: 0 favours short ones, 1 long ones (default: 0.7)",
    )
    parser.add_argument(
        "--without-penalty",
        action="store_true",
        help="a captioner's: BLEU without its brevity penalty too, as older papers report it",
    )
    parser.add_argument(
        "--meteor",
        action="store_true",
        help="a captioner's: METEOR too (needs Java and pip install 'keras-vlm[metrics]')",
    )
    parser.add_argument(
        "--shuffle-pictures",
        type=int,
        nargs="?",
        const=0,
        metavar="SEED",
        help="permute the pictures of the split: does the picture matter? (default seed: 0)",
    )
    parser.add_argument(
        "--folds",
        type=int,
        default=1,
        help="a retriever's: equal parts scored apart, 5 for the 1k figures of 5,000 pictures",
    )
    parser.add_argument(
        "--rerank", metavar="MODEL", help="a retriever's: a re-ranker of its first 20 answers"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write scores, signature and predictions to FILE"
    )


def run(options):
    """Evaluates and prints a table."""
    from keras_vlm.data import load_data
    from keras_vlm.training.evaluate import evaluate

    model = open_model(options.model)
    _check_options(model, options)
    texts = "questions" if hasattr(model, "answer") else "captions"
    data = load_data(options.data, language=options.language, keys=options.keys, texts=texts)
    asks = hasattr(model, "answer") and options.training_split in data
    if hasattr(model, "answer") and not asks:
        print(
            f"No baselines: {options.data} has no split {options.training_split!r} to learn them "
            f"from, but {', '.join(data)} (--training-split).",
            file=sys.stderr,
        )
    if options.rerank:
        from keras_vlm.tasks.two_stage import TwoStageRetriever

        model = TwoStageRetriever(model, open_reranker(options.rerank))
    found = evaluate(
        model,
        _choose_examples(data, options),
        training_examples=data[options.training_split] if asks else None,
        beam_size=options.beam_size,
        strategy=_search(options),
        more_scores=_more_scores(options),
        batch_size=options.batch_size,
        folds=options.folds,
    )
    for name, score in found.scores.items():
        print(f"{name:26s} {score:.4f}")
    print(f"signature  {found.signature}")
    print_baselines(found.baselines)
    for name, value in found.diversity.items():
        print(f"{name:26s} {value:.4g}")
    if options.reliability:
        from keras_vlm.training.plots import plot_reliability

        plot_reliability(found.calibration, options.reliability)
        print(f"Written: {options.reliability}")
    if options.confusion:
        from keras_vlm.training.plots import plot_confusion

        plot_confusion(found.confusion, options.confusion)
        print(f"Written: {options.confusion}")
    if options.json:
        found.save(options.json)
        print(f"Written: {options.json}")


def _check_options(model, options):
    """Raises unless the model does what options ask for.

    Raises:
        ValueError: it does not.
    """
    for name in ("reliability", "confusion"):
        if getattr(options, name) and not hasattr(model, "answer"):
            raise ValueError(f"--{name} goes with a model that answers questions.")
    if options.length_penalty is not None and not hasattr(model, "caption"):
        raise ValueError("--length-penalty goes with a model that writes captions.")


def _choose_examples(data, options):
    """Returns the split that is scored, its pictures permuted where that is asked for."""
    from keras_vlm.data.sources import shuffle_pictures

    examples = data[options.split]
    if options.shuffle_pictures is None:
        return examples
    return shuffle_pictures(examples, options.shuffle_pictures)


def _search(options):
    """Returns the search that a length penalty asks for, or None for that of the beam's size."""
    from keras_vlm.decoding import BeamSearch

    if options.length_penalty is None:
        return None
    return BeamSearch(options.beam_size, length_penalty=options.length_penalty)


def _more_scores(options):
    """Returns the scores that were asked for beside the usual ones."""
    asked = {"BLEU_without_penalty": options.without_penalty, "METEOR": options.meteor}
    return tuple(name for name, wanted in asked.items() if wanted)
