"""Words that a sequence must hold: their ids, and the choice among candidates that sees to it.

Group g of a picture's places holds the hypotheses in which g of the words occur. A token that adds
a word moves its hypothesis to a later group, where it competes with its equals only; so words get
in that the model alone would never choose. Only the last group's hypotheses may end.

Refuses to know words beyond their ids. Dimension letters: B batch, F forced words, A the ids that
serve for one of them, W beams a group, K = (F+1)*W places a picture, R = B*K rows, m candidates a
row, V vocabulary.
"""

import numpy as np
import tensorflow as tf

from keras_vlm.decoding.beam_core import end_if_stuck, join, rate, take_best
from keras_vlm.decoding.constraints import check_below, check_ids, lowered
from keras_vlm.decoding.step import END_ID, IMPOSSIBLE, PAD_ID, START_ID

MAX_WORDS = 4


def check_forced(where, forced_ids):
    """Returns forced words in one form.

    Args:
        where: name of the public function that the user called.
        forced_ids: for each word an id, or a sequence of alternative ids.

    Returns:
        A tuple of tuples of ints.

    Raises:
        ValueError: there are too many, one has no id, or one is pad, start or end.
    """
    alternatives = tuple(
        check_ids(where, "forced_ids", [each] if np.ndim(each) == 0 else each)
        for each in forced_ids
    )
    special = {PAD_ID, START_ID, END_ID}
    if len(alternatives) > MAX_WORDS:
        raise ValueError(
            f"{where}: forced_ids must be at most {MAX_WORDS} words, got {len(alternatives)}."
        )
    if any(not ids or special & set(ids) for ids in alternatives):
        raise ValueError(
            f"{where}: forced_ids must be one or more ids of real words each, got "
            f"{forced_ids!r}. Leave out pad {PAD_ID}, start {START_ID} and end {END_ID}."
        )
    return alternatives


class ForcedChoice:
    """The W best candidates for each number of forced words.

    Args:
        size: beams W of a group.
        alternatives: F tuples of ids. An id that serves for two words adds both.
    """

    roots = (0,)

    def __init__(self, size, alternatives):
        self.size, self.alternatives = size, alternatives
        self.first_complete = size * len(alternatives)
        self.places = self.first_complete + size
        # Cut before it had all words, a hypothesis is the better the more it has.
        self.classes = [place // size for place in range(self.places)]
        self.ids = sorted({token_id for ids in alternatives for token_id in ids})

    def start(self, rows):
        """Keeps for each row the words it has, [R,F] bool."""
        return tf.zeros([rows, len(self.alternatives)], tf.bool)

    def follow(self, extra, token):
        """Returns the words [R,F] after a token [R]."""
        added = [
            tf.reduce_any(token[:, None] == tf.constant(ids), axis=1) for ids in self.alternatives
        ]
        return extra | tf.stack(added, axis=1)

    def choose(self, allowed, end_log_prob, beams):
        """Chooses among allowed [R,V]; end_log_prob [R] is the model's own. Returns ``Chosen``."""
        size, places, words = self.size, self.places, len(self.alternatives)
        check_below("forced_ids", self.ids, allowed.shape[-1])
        has = beams.extra
        token, log_prob, added = self.candidates(allowed, has)
        group = tf.reduce_sum(tf.cast(has, tf.int32), axis=1, keepdims=True) + added
        count = token.shape[-1]
        token, log_prob, group = (
            tf.reshape(each, [-1, places, count]) for each in (token, log_prob, group)
        )
        end, sums, finished = (
            tf.reshape(each, [-1, places]) for each in (end_log_prob, beams.sums, beams.finished)
        )
        token, log_prob, _ = end_if_stuck(token, log_prob, log_prob, end)
        worth = rate(sums, log_prob, finished)
        # What is of another group only fills a place, as an impossible hypothesis.
        choices = []
        for index in range(words + 1):
            here = tf.where(group == index, worth, 2 * IMPOSSIBLE)
            totals = tf.where(group == index, sums[..., None] + log_prob, IMPOSSIBLE)
            choices.append(take_best(here, token, totals, size))
        return join(choices)

    def candidates(self, allowed, has):
        """Returns a row's candidates: its best plain tokens, and every token that adds a word.

        Args:
            allowed: [R,V] float32.
            has: [R,F] bool, the words a row has.

        Returns:
            token [R,m] int32, log_prob [R,m] float32 and added [R,m] int32, the words each adds.
        """
        vocabulary_size = allowed.shape[-1]
        serves = np.zeros([len(self.alternatives), len(self.ids)], "float32")
        for word, ids in enumerate(self.alternatives):
            serves[word, [self.ids.index(token_id) for token_id in ids]] = 1
        to_vocabulary = np.zeros([len(self.ids), vocabulary_size], "float32")
        to_vocabulary[range(len(self.ids)), self.ids] = IMPOSSIBLE
        lacks = tf.cast(~has, tf.float32)
        added = tf.matmul(lacks, tf.constant(serves))
        adds = tf.cast(added > 0, tf.float32)
        plain = allowed + tf.matmul(adds, tf.constant(to_vocabulary))
        incomplete = tf.reduce_max(lacks, axis=1, keepdims=True)
        plain += incomplete * lowered(vocabulary_size, (END_ID,))
        log_prob, token = tf.math.top_k(plain, min(self.size, vocabulary_size))
        adding = tf.gather(allowed, self.ids, axis=1)
        adding = tf.where(added > 0, adding, IMPOSSIBLE)
        ids = tf.zeros_like(added, tf.int32) + tf.constant(self.ids)
        return (
            tf.concat([token, ids], axis=1),
            tf.concat([log_prob, adding], axis=1),
            tf.concat([tf.zeros_like(token), tf.cast(added, tf.int32)], axis=1),
        )
