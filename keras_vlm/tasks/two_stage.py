"""Retrieval in two stages: a retriever finds candidates, a re-ranker puts them in order.

Refuses to know how either was trained. Dimension letters: n pictures, m texts, q queries, A
answers.
"""

import numpy as np

from keras_vlm.core.checks import check_number
from keras_vlm.tasks.reranking import Reranker

# Candidates that are re-ranked.
CANDIDATES = 20


class TwoStageRetriever:
    """A retriever whose first k answers a re-ranker puts in order, as ``evaluate`` takes it.

    Args:
        retriever: a ``Retriever``, or anything with ``embed_images`` and ``embed_texts``.
        reranker: a ``Reranker``.
        k: answers of each query that are re-ranked; all others stay below them as they were.

    Raises:
        TypeError: ``retriever`` cannot embed, or ``reranker`` is no ``Reranker``.
        ValueError: ``k`` is out of range.

    Example:
        ``evaluate(TwoStageRetriever(retriever, reranker), data["test"]).scores``

    Source:
        Li et al. 2021, "Align before Fuse" (ALBEF), section 5, https://arxiv.org/abs/2107.07651.
    """

    def __init__(self, retriever, reranker, k=CANDIDATES):
        where = "TwoStageRetriever"
        if not hasattr(retriever, "embed_images"):
            raise TypeError(
                f"{where}: retriever must be a Retriever, got {type(retriever).__name__}. "
                "Only what a retriever finds can be re-ranked."
            )
        if not isinstance(reranker, Reranker):
            raise TypeError(
                f"{where}: reranker must be a Reranker, got {type(reranker).__name__}. "
                "Make one with build_reranker."
            )
        self.k = check_number(where, "k", k, minimum=1, integer=True)
        self.retriever = retriever
        self.reranker = reranker

    def embed_images(self, images, **options):
        """Gives pictures their place in the retriever's space; see ``Retriever.embed_images``."""
        return self.retriever.embed_images(images, **options)

    def embed_texts(self, texts, **options):
        """Gives sentences their place in the retriever's space; see ``Retriever.embed_texts``."""
        return self.retriever.embed_texts(texts, **options)

    def second_stage(self, images, texts, *, batch_size=32, verbose=0):
        """Encodes pictures and texts for re-ranking.

        Args:
            images: n pictures, as for ``Reranker.match``.
            texts: m strings.
            batch_size: pictures a forward pass.
            verbose: 1 for a progress bar, 0 for none.

        Returns:
            A ``SecondStage``, which ``metrics.score_retrieval`` takes as ``rescore``.
        """
        matcher = self.reranker.matcher(images, texts, batch_size=batch_size, verbose=verbose)
        return SecondStage(matcher, self.k)


class SecondStage:
    """Puts the first k answers of each query in the re-ranker's order.

    Args:
        matcher: a ``Matcher``.
        k: answers of each query that are re-ranked.
    """

    def __init__(self, matcher, k):
        self.matcher = matcher
        self.k = k

    def __call__(self, scores, pictures, captions):
        """Scores answers anew.

        Args:
            scores: [q,A] float, the first stage's.
            pictures: int array that broadcasts to [q,A]: places of pictures.
            captions: int array that broadcasts to [q,A]: places of texts.

        Returns:
            [q,A] float64. The first k of each query (of equals, those that come first) have the
            re-ranker's scores; the others, and pictures that cannot be read, are below all of
            these, in the order that they had.
        """
        scores = np.asarray(scores, np.float64)
        pictures, captions = (np.broadcast_to(each, scores.shape) for each in (pictures, captions))
        readable = self.matcher.readable[pictures]
        order = np.argsort(np.where(readable, -scores, np.inf), axis=1, kind="stable")
        chosen = np.zeros(scores.shape, bool)
        np.put_along_axis(chosen, order[:, : self.k], True, axis=1)
        chosen &= readable
        if not chosen.any():
            return scores
        matches = self.matcher(np.stack([pictures[chosen], captions[chosen]], axis=1))
        rescored = scores - scores.max() + float(matches.min()) - 1
        rescored[chosen] = matches
        return rescored
