"""METEOR and SPICE, which exist as Java programs only. Refuses to make them anew."""

import shutil
import subprocess

from keras_vlm.core.checks import check_choice
from keras_vlm.core.extras import import_extra

JAVA_METRICS = {
    "METEOR": ("pycocoevalcap.meteor.meteor", "Meteor"),
    "SPICE": ("pycocoevalcap.spice.spice", "Spice"),
}
# Of the program that pycocoevalcap brings and runs with its options for English.
METEOR_VERSION = "1.5"


def check_java_score(name, where="java_score"):
    """Returns the class that computes a score, if everything that it needs is there.

    Args:
        name: ``"METEOR"`` or ``"SPICE"``.
        where: name of the public function that the user called.

    Returns:
        A class of pycocoevalcap.

    Raises:
        ImportError: pycocoevalcap is missing; the message names the extra.
        FileNotFoundError: there is no Java, or it does not start.
        ValueError: the name is unknown.
    """
    check_choice(where, "name", name, JAVA_METRICS)
    module, scorer = JAVA_METRICS[name]
    made = getattr(import_extra(module, "metrics", f"The score {name}"), scorer)
    if shutil.which("java") is None:
        raise FileNotFoundError(
            f"{where}: {name} needs Java, and there is no 'java' on the PATH. Install a Java "
            "runtime, or use the scores that need none: BLEU, ROUGE-L, CIDEr-D."
        )
    # Where Java itself does not start, pycocoevalcap would wait for it for ever.
    tried = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise FileNotFoundError(
            f"{where}: {name} needs Java, and 'java -version' fails: {tried.stderr.strip()[:200]}"
        )
    return made


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
        FileNotFoundError: there is no Java, or it does not start.
        ValueError: the name is unknown.

    Source:
        Denkowski and Lavie 2014, https://aclanthology.org/W14-3348; Anderson et al. 2016,
        https://arxiv.org/abs/1607.08822.
    """
    made = check_java_score(name)
    texts = {i: [hypothesis] for i, hypothesis in enumerate(hypotheses)}
    score, _ = made().compute_score(dict(enumerate(references)), texts)
    return float(score)
