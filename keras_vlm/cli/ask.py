"""Ask questions about a picture; it is encoded once, however many there are.

MODEL is the name of a published model (`keras-vlm models` lists them), a .keras file or a
SavedModel folder. Each line is a question and its answer with its probability; words that the model
has never learned, and questions mostly of such words, are named on standard error.

example:
  keras-vlm ask runs/vqa/model.keras photo.jpg "what colour is the ball?" "is there a dog?"
"""

import sys

from keras_vlm.cli.arguments import open_model, print_json, print_text
from keras_vlm.tasks.asking import UNREADABLE


def add_arguments(parser):
    """Adds the flags."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("image", metavar="IMAGE", help="a picture file")
    parser.add_argument("questions", metavar="QUESTION", nargs="+", help="what to ask")
    parser.add_argument("--top-k", type=int, default=1, help="answers to each (default: 1)")
    parser.add_argument(
        "--json", action="store_true", help="print JSON: question, answer, probability, candidates"
    )


def run(options):
    """Asks; returns 1 if the picture cannot be read, or a question not be answered.

    Raises:
        TypeError: the model answers no questions.
    """
    model = open_model(options.model)
    if not hasattr(model, "answer"):
        raise TypeError(
            f"{options.model} must be a model that answers questions, got a "
            f"{type(model).__name__}. Train one with keras-vlm train --task vqa."
        )
    answers = model.answer(options.image, options.questions, top_k=options.top_k)
    return tell_answers(options, options.image, "picture", answers)


def tell_answers(options, path, noun, answers):
    """Prints answers; returns 1 if nothing could be read, or a question not be answered.

    Args:
        options: with ``command``, ``questions`` and ``json``.
        path: the picture's or video's path.
        noun: ``"picture"`` or ``"video"``.
        answers: list of ``Answer``.

    Returns:
        The exit code.
    """
    command = f"keras-vlm {options.command}"
    if options.json:
        print_json(
            [
                {
                    "question": question,
                    "answer": answer.text,
                    "probability": answer.probability,
                    "candidates": answer.candidates,
                    "unknown_words": answer.unknown_words,
                    "problem": answer.problem,
                }
                for question, answer in zip(options.questions, answers, strict=True)
            ]
        )
    if answers[0].problem == UNREADABLE:
        print(f"{command}: {path}: cannot be read as a {noun}.", file=sys.stderr)
        return 1
    for question, answer in zip(options.questions, answers, strict=True):
        if not options.json:
            told = ", ".join(f"{text} ({score:.2f})" for text, score in answer.candidates)
            print_text(f"{question}  {told}" if len(answers) > 1 else told)
        if answer.problem:
            print(f"{command}: {question!r}: {answer.problem}.", file=sys.stderr)
        if answer.unknown_words:
            words = ", ".join(answer.unknown_words)
            print(f"{command}: {question!r}: unknown words: {words}.", file=sys.stderr)
    return 0 if all(answer.text for answer in answers) else 1
