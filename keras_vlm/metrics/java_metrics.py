"""METEOR and SPICE, which exist as Java programs only. Refuses to make them anew."""

import shutil

from keras_vlm.core.checks import check_choice
from keras_vlm.core.extras import import_extra

JAVA_METRICS = {
    "METEOR": ("pycocoevalcap.meteor.meteor", "Meteor"),
    "SPICE": ("pycocoevalcap.spice.spice", "Spice"),
}


def java_score(name, references, hypotheses):
    """Scores a corpus by METEOR or SPICE, from 0 to 1, through pycocoevalcap.

    Args:
        name: ``"METEOR"`` or ``"SPICE"``. SPICE downloads Stanford CoreNLP at its first use.
        references: list of n lists of tokenized strings.
        hypotheses: list of n tokenized strings.

    Returns:
        A float.

    Raises:
        ImportError: pycocoevalcap is missing; the message names the extra.
        RuntimeError: there is no Java.
        ValueError: the name is unknown.

    Source:
        Denkowski and Lavie 2014, https://aclanthology.org/W14-3348; Anderson et al. 2016,
        https://arxiv.org/abs/1607.08822.
    """
    check_choice("java_score", "name", name, JAVA_METRICS)
    module, scorer = JAVA_METRICS[name]
    made = getattr(import_extra(module, "metrics", f"The score {name}"), scorer)
    if shutil.which("java") is None:
        raise RuntimeError(
            f"java_score: {name} needs Java, and there is no 'java' on the PATH. Install a Java "
            "runtime, or use the scores that need none: BLEU, ROUGE-L, CIDEr-D."
        )
    texts = {i: [hypothesis] for i, hypothesis in enumerate(hypotheses)}
    score, _ = made().compute_score(dict(enumerate(references)), texts)
    return float(score)
