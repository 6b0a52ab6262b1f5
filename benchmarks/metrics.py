"""How fast captions are scored, against pycocoevalcap in the same run.

    python benchmarks/metrics.py flickr8k:DIR --split dev

Both tokenize raw text to PTB words and score BLEU-1..4, ROUGE-L and CIDEr-D of 1,000 pictures with
five references each; the hypotheses are captions of people. Why ours is faster: no Java to start,
n-grams are numbers in arrays, and ROUGE-L's table is one addition a word. pycocoevalcap scores
its tokens by dicts of tuples, and most of its time is CIDEr-D's.
"""

import argparse
import contextlib
import io
import random
import time

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from keras_vlm.data import load_data
from keras_vlm.metrics import score_captions


def score_by_pycocoevalcap(references, hypotheses):
    """Returns the same scores, by the reference implementation."""
    tokenizer = PTBTokenizer()
    gts = tokenizer.tokenize(
        {i: [{"caption": text} for text in texts] for i, texts in enumerate(references)}
    )
    res = tokenizer.tokenize({i: [{"caption": text}] for i, text in enumerate(hypotheses)})
    with contextlib.redirect_stdout(io.StringIO()):
        bleu, _ = Bleu(4).compute_score(gts, res)
    scores = {f"BLEU-{n}": score for n, score in enumerate(bleu, start=1)}
    return {
        **scores,
        "ROUGE-L": Rouge().compute_score(gts, res)[0],
        "CIDEr-D": Cider().compute_score(gts, res)[0],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="for example flickr8k:DIR")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--repeat", type=int, default=3, help="the fastest of so many runs counts")
    options = parser.parse_args()
    references = load_data(options.data)[options.split].captions[:1000]
    draw = random.Random(0)
    hypotheses = [draw.choice(draw.choice(references)) for _ in references]
    seconds, scores = {}, {}
    for _ in range(options.repeat):
        for name, score in (
            ("pycocoevalcap", score_by_pycocoevalcap),
            ("keras_vlm", lambda *texts: score_captions(*texts).scores),
        ):
            began = time.perf_counter()
            scores[name] = score(references, hypotheses)
            seconds[name] = min(
                time.perf_counter() - began, seconds.get(name, float("inf"))
            )
    for name, value in scores["pycocoevalcap"].items():
        print(f"{name:8s} {value:.6f} {scores['keras_vlm'][name]:.6f}")
    print({name: round(value, 3) for name, value in seconds.items()}, "seconds")
    ratio = seconds["pycocoevalcap"] / seconds["keras_vlm"]
    print(f"ratio: {ratio:.1f}x on {len(references)} pictures")


if __name__ == "__main__":
    main()
