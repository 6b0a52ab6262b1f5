"""Understand a video: a sentence, answers, a summary, or the moments that fit a sentence.

FILE is an MP4, MOV, WebM, MKV, AVI or GIF file. MODEL is the name of a published model
(`keras-vlm models` lists them), a .keras file or a SavedModel folder: for caption and ask one of
clips (`keras-vlm train --task video-caption` or `video-qa`), for summarize a captioner of pictures
or of clips, for search a retriever. `keras-vlm video ACTION --help` explains each.

example:
  keras-vlm video caption clip.mp4 --model runs/clips/model.keras
  keras-vlm video ask clip.mp4 "what changes first?" --model runs/video_qa/model.keras
  keras-vlm video summarize film.mp4 --out film_summary --shots 8
  keras-vlm video search film.mp4 "a dog jumps"
"""

import argparse
import dataclasses
import pathlib
import sys
import tempfile

from keras_vlm.cli.arguments import open_model, print_json, print_text

CAPTIONER, RETRIEVER = "captioner-lite0-lstm-flickr8k", "retriever-lite0-flickr8k"
ACTIONS = {
    "caption": "write a sentence for each video",
    "ask": "answer questions about a video",
    "summarize": "shots, key frames, chapters, a storyboard and a paragraph",
    "search": "find the moments that fit a sentence",
}


def add_arguments(parser):
    """Adds the actions and their flags."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    added = {
        name: actions.add_parser(
            name, help=text, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        for name, text in ACTIONS.items()
    }
    caption, ask, summary, search = added.values()
    caption.add_argument("files", metavar="FILE", nargs="+", help="video files")
    ask.add_argument("file", metavar="FILE", help="a video file")
    ask.add_argument("questions", metavar="QUESTION", nargs="+", help="what to ask")
    ask.add_argument("--top-k", type=int, default=1, help="answers to each (default: 1)")
    for action in (caption, ask):
        action.add_argument("--model", metavar="MODEL", required=True, help="a model of clips")
    summary.add_argument("file", metavar="FILE", help="a video file")
    summary.add_argument(
        "--out", metavar="DIR", help="folder of the outputs (default: FILE_summary, beside it)"
    )
    summary.add_argument(
        "--model", metavar="MODEL", default=CAPTIONER, help=f"a captioner (default: {CAPTIONER})"
    )
    budget = summary.add_mutually_exclusive_group()
    budget.add_argument("--shots", type=int, help="most chapters (default: 12)")
    budget.add_argument("--seconds", type=float, help="most seconds of excerpts, instead")
    summary.add_argument("--rate", type=float, help="frames a second to look at (default: 1 to 8)")
    summary.add_argument(
        "--method", default="histogram", help="how shots are told apart: histogram or features"
    )
    search.add_argument("file", metavar="FILE", help="a video file")
    search.add_argument("text", metavar="SENTENCE", help="what to look for")
    search.add_argument(
        "--model", metavar="MODEL", default=RETRIEVER, help=f"a retriever (default: {RETRIEVER})"
    )
    search.add_argument("--index", metavar="DIR", help="keep the index here, for the next search")
    search.add_argument("--k", type=int, default=5, help="moments to find (default: 5)")
    search.add_argument(
        "--rate", type=float, default=1.0, help="frames a second to look at (default: 1)"
    )
    for action in (caption, summary):
        action.add_argument(
            "--beam-size", type=int, default=3, help="width of the beam search (default: 3)"
        )
    for action in added.values():
        action.add_argument("--json", action="store_true", help="print JSON")


def run(options):
    """Does one of the actions; returns 1 if a video could not be read."""
    return RUNS[options.action](options)


def _caption(options):
    model = _open_of_clips(options.model, "caption", "video-caption")
    found = model.caption(options.files, beam_size=options.beam_size, with_scores=True)
    unreadable = 0
    rows = []
    for path, [(text, score), *_] in zip(options.files, found, strict=True):
        readable = score > float("-inf")
        unreadable += not readable
        rows.append({"video": path, "caption": text, "score": score if readable else None})
        if not options.json and readable:
            print_text(f"{path}: {text}" if len(options.files) > 1 else text)
        if not readable:
            print(f"keras-vlm video: {path}: cannot be read as a video.", file=sys.stderr)
    if options.json:
        print_json(rows)
    return 1 if unreadable else 0


def _ask(options):
    from keras_vlm.cli.ask import tell_answers

    model = _open_of_clips(options.model, "answer", "video-qa")
    answers = model.answer(options.file, options.questions, top_k=options.top_k)
    return tell_answers(options, options.file, "video", answers)


def _summarize(options):
    from keras_vlm.video.storyboard import describe_summary, write_summary
    from keras_vlm.video.summary import summarize

    model = open_model(options.model)
    if not hasattr(model, "caption"):
        raise TypeError(f"{options.model}: must be a captioner, got a {type(model).__name__}.")
    path = pathlib.Path(options.file)
    out = pathlib.Path(options.out or path.with_name(f"{path.stem}_summary"))
    if path.is_file():
        # Before the work, not after it.
        out.mkdir(parents=True, exist_ok=True)
    summary = summarize(
        path,
        model,
        shots=options.shots,
        seconds=options.seconds,
        rate=options.rate,
        method=options.method,
        beam_size=options.beam_size,
        verbose=0 if options.json else 1,
    )
    written = write_summary(summary, out)
    if options.json:
        print_json({**describe_summary(summary), "files": {k: str(p) for k, p in written.items()}})
        return 0
    print_text(summary.digest)
    print("Written: " + ", ".join(str(path) for path in written.values()))
    return 0


def _search(options):
    from keras_vlm.search.pictures import load_retriever, open_index
    from keras_vlm.video.digest import format_time
    from keras_vlm.video.moments import index_videos, search_moments

    model = load_retriever(options.model)
    with tempfile.TemporaryDirectory() as folder:
        path = options.index or pathlib.Path(folder) / "index"
        index_videos(
            model,
            [options.file],
            path,
            rate=options.rate,
            model_name=options.model,
            verbose=0 if options.json else 1,
        )
        index, _ = open_index(path, model)
        with index:
            found = search_moments(
                index, model, options.text, k=options.k, rate=options.rate, paths=[options.file]
            )
    unknown = model.unknown_words(options.text)
    if unknown:
        print(
            f"keras-vlm video: the model has never learned: {', '.join(unknown)}", file=sys.stderr
        )
    if options.json:
        print_json([dataclasses.asdict(moment) for moment in found])
        return 0
    for moment in found:
        start, end = format_time(moment.start_seconds), format_time(moment.end_seconds)
        print_text(f"{moment.score:.3f}  {start} to {end}  {moment.path}")
    return 0


def _open_of_clips(name, method, task):
    """Opens a model that must be of clips.

    Raises:
        TypeError: it is none, or of another task.
    """
    model = open_model(name)
    if not hasattr(model, "num_frames") or not hasattr(model, method):
        raise TypeError(
            f"{name}: must be a model of clips with the method {method}, got a "
            f"{type(model).__name__}. Train one with keras-vlm train --task {task}."
        )
    return model


RUNS = {"caption": _caption, "ask": _ask, "summarize": _summarize, "search": _search}
