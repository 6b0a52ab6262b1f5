"""VQA accuracy: how many annotators an answer agrees with, as the official evaluation has it.

Refuses to know models and pictures. Dimension letters: n questions, A annotators of a question.
"""

from keras_vlm.core.checks import check_choice
from keras_vlm.metrics.calibration import expected_calibration_error
from keras_vlm.metrics.classification import score_classification
from keras_vlm.text.answers import comparable, normalize_answer, strip_punctuation

# How the annotators' answers are prepared before they are compared.
PROTOCOLS = ("official", "normalized")
VQA_SCORES = (
    "accuracy", "exact_match", "macro_precision", "macro_recall", "macro_F1", "micro_precision",
    "micro_recall", "micro_F1",
)  # fmt: skip


def vqa_accuracy(answer, references, *, protocol="official"):
    """Scores one answer against those of its annotators.

    Each annotator in turn is left out; of the others, three who agree are enough: the mean over
    annotators of ``min(agreeing / 3, 1)``. With two to three annotators all others are enough; with
    one, the answer must be the annotator's.

    Args:
        answer: a string.
        references: list of A answers, raw.
        protocol: ``"official"`` prepares the annotators' answers as the reference does, which
            takes punctuation out where they differ and no more, for its files are prepared
            already; ``"normalized"`` prepares them as the answer is, for data of one's own.

    Returns:
        A float from 0 to 1.

    Raises:
        ValueError: there is no reference, or the protocol is unknown.

    Source:
        Antol et al. 2015, https://arxiv.org/abs/1505.00468; vqaEval.py of
        https://github.com/GT-Vision-Lab/VQA, which knows ten annotators only.

    Example:
        >>> vqa_accuracy("A dog.", ["dog"] * 3 + ["cat"] * 7)
        0.9
    """
    check_choice("vqa_accuracy", "protocol", protocol, PROTOCOLS)
    if not references:
        raise ValueError("vqa_accuracy: references must have at least one answer, got none.")
    if protocol == "normalized":
        references = [comparable(reference) for reference in references]
    elif len(set(references)) > 1:
        references = [strip_punctuation(reference) for reference in references]
    answer = comparable(answer) if protocol == "normalized" else normalize_answer(answer)
    agree = [reference == answer for reference in references]
    if len(agree) == 1:
        return float(agree[0])
    needed = min(3, len(agree) - 1)
    return sum(min(1.0, (sum(agree) - own) / needed) for own in agree) / len(agree)


def score_vqa(answers, questions, *, confidences=None, protocol=None):
    """Scores answers to questions, overall and by type.

    Args:
        answers: list of n strings.
        questions: list of n objects with ``answers``, ``answer``, ``question_type`` and
            ``answer_type``, such as ``data.questions.Question``.
        confidences: list of n probabilities of the answers, for calibration, or None.
        protocol: as for ``vqa_accuracy``; None is official where every question has ten annotators.

    Returns:
        dict of name to float: ``accuracy``; ``accuracy_question:TYPE`` and
        ``accuracy_answer:TYPE`` of the types that the data have; ``exact_match``, the share of
        answers that are the most frequent one, and its ``macro_`` and ``micro_`` precision, recall
        and F1 over answers; with confidences, ``ECE``.

    Raises:
        ValueError: the lists are empty or do not match.
    """
    if not questions or len(answers) != len(questions):
        raise ValueError(
            "score_vqa: answers and questions must be as many, and at least one, got "
            f"{len(answers)} and {len(questions)}."
        )
    protocol = protocol or choose_protocol(questions)
    each = [
        vqa_accuracy(answer, question.answers, protocol=protocol)
        for answer, question in zip(answers, questions, strict=True)
    ]
    scores = {"accuracy": sum(each) / len(each)}
    for kind in ("question", "answer"):
        groups = {}
        for accuracy, question in zip(each, questions, strict=True):
            groups.setdefault(getattr(question, f"{kind}_type"), []).append(accuracy)
        scores |= {
            f"accuracy_{kind}:{name}": sum(group) / len(group)
            for name, group in sorted(groups.items(), key=lambda item: str(item[0]))
            if name is not None
        }
    truth = [comparable(question.answer) for question in questions]
    said = [comparable(answer) for answer in answers]
    found = score_classification(truth, said, sorted({*truth, *said}))
    scores["exact_match"] = found.pop("accuracy")
    scores |= found
    if confidences is not None:
        right = [one == other for one, other in zip(truth, said, strict=True)]
        scores["ECE"] = expected_calibration_error(confidences, right)
    return scores


def choose_protocol(questions):
    """Returns ``"official"`` where every question has ten annotators, else ``"normalized"``."""
    return "official" if all(len(q.answers) == 10 for q in questions) else "normalized"
