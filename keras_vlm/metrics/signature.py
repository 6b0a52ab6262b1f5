"""How a score was made: scores whose signatures differ do not compare. Refuses to know scores."""

import dataclasses

from keras_vlm.core.version import VERSION


@dataclasses.dataclass(frozen=True)
class Signature:
    """What has to be the same before two scores may be compared.

    Attributes:
        tokenizer: ``"ptb"``, ``"characters"``, ``"jieba"`` or ``"whitespace"``.
        brevity_penalty: whether BLEU has it.
        references: how many a picture, such as ``"5"`` or ``"1-7"``.
        split: data and split, such as ``"flickr8k:dev"``, or None.
        n: number of pictures.
        decoding: how captions were searched for, or None.
        without_penalty: whether BLEU without it stands beside.
        meteor: version of METEOR's program, or None where it was not asked.
        version: of this package.

    Source:
        Post 2018, "A Call for Clarity in Reporting BLEU Scores",
        https://arxiv.org/abs/1804.08771.
    """

    tokenizer: str
    brevity_penalty: bool
    references: str
    split: str | None
    n: int
    decoding: str | None
    without_penalty: bool = False
    meteor: str | None = None
    version: str = VERSION

    def __str__(self):
        """Returns everything in one line."""
        penalties = ["yes"] * self.brevity_penalty
        penalties += ["no"] * (self.without_penalty or not self.brevity_penalty)
        fields = {
            "tokenizer": self.tokenizer,
            "brevity_penalty": "+".join(penalties),
            "references": self.references,
            "split": self.split or "unknown",
            "n": self.n,
            "decoding": self.decoding or "unknown",
            **({"meteor": self.meteor} if self.meteor else {}),
            "keras_vlm": self.version,
        }
        return "|".join(f"{name}:{value}" for name, value in fields.items())


def describe_references(references):
    """Returns how many references a picture has, as ``"5"`` or ``"1-7"``."""
    numbers = [len(texts) for texts in references]
    least, most = min(numbers), max(numbers)
    return str(least) if least == most else f"{least}-{most}"
