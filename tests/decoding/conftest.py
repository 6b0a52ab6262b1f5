"""A toy model whose next word depends on the whole history, and slow truths about searching it.

The history is a running hash carried in the state, so a search that mixes up rows of the state gets
other words. The same arithmetic stands here twice: in TensorFlow and in plain Python.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

END = 3
HASHES = 31


def mix(history, token):
    return (history * 5 + token * 3 + 1) % HASHES


def make_table(batch, vocabulary_size, seed, end_bonus=0.0):
    """Log-probabilities [B,HASHES,V]; with a bonus, ends come early."""
    logits = np.random.default_rng(seed).normal(0, 1.5, [batch, HASHES, vocabulary_size])
    logits[..., END] += end_bonus
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    return logits.astype("float32")


def toy_step(table):
    def step(token_ids, state):
        history = mix(state["history"], token_ids)
        log_probs = tf.gather_nd(table, tf.stack([state["picture"], history], axis=-1))
        # A wide leaf of another type, to be reordered too.
        trace = state["nested"][0] * 0.5 + tf.cast(token_ids, tf.float32)[:, None]
        return log_probs, {**state, "history": history, "nested": (trace,)}

    return step


def toy_start(batch, rows_per_picture):
    picture = tf.repeat(tf.range(batch), rows_per_picture)
    return {
        "picture": picture,
        "history": tf.zeros_like(picture),
        "nested": (tf.zeros([tf.size(picture), 2]),),
    }


class Searcher:
    """Runs strategies on tables, one trace for each kind."""

    def __init__(self):
        self.functions = {}

    def __call__(self, strategy, table, max_length, jit=False):
        key = (strategy, max_length, jit, table.shape[1:], jit and len(table))
        if key not in self.functions:
            batch = len(table) if jit else None

            def run(table):
                size = tf.shape(table)[0]
                state = toy_start(size, strategy.rows_per_picture)
                found = strategy(toy_step(table), state, batch_size=size, max_length=max_length)
                return tuple(found)

            spec = tf.TensorSpec([batch, *table.shape[1:]])
            self.functions[key] = tf.function(run, input_signature=[spec], jit_compile=jit)
        token_ids, lengths, scores = self.functions[key](tf.constant(table))
        return SimpleNamespace(
            token_ids=token_ids.numpy(), lengths=lengths.numpy(), scores=scores.numpy()
        )


def all_sequences(table, max_length, allowed=lambda sequence: True):
    """Every sequence of one picture [HASHES,V] with its sum; cut at max_length."""
    found, queue = [], [((), mix(0, 2), 0.0)]
    while queue:
        sequence, history, total = queue.pop()
        for token in range(table.shape[1]):
            if token in (0, 2):
                continue
            longer, value = (*sequence, token), total + float(table[history, token])
            if token == END or len(longer) == max_length:
                found.append((longer, value))
            else:
                queue.append((longer, mix(history, token), value))
    return [(sequence, total) for sequence, total in found if allowed(sequence)]


def best_of(found, length_penalty, count):
    """The ``count`` best (sequence, score) by normalised score."""
    scored = [(sequence, total / len(sequence) ** length_penalty) for sequence, total in found]
    return sorted(scored, key=lambda pair: -pair[1])[:count]


def slow_beam(table, size, max_length, num_groups=1, diversity_penalty=0.0):
    """Beam search of one picture as it is told: places, frozen hypotheses, groups in turn.

    No early stop: the loop runs to max_length. Returns all (sequence, sum).
    """
    per_group = size // num_groups
    groups = [[((), 0.0, mix(0, 2))] for _ in range(num_groups)]
    for _ in range(max_length):
        said = {}
        for number, beams in enumerate(groups):
            frozen = [beam for beam in beams if beam[0][-1:] == (END,)]
            candidates = []
            for sequence, total, history in beams:
                if sequence[-1:] == (END,):
                    continue
                for token in range(table.shape[1]):
                    if token in (0, 2):
                        continue
                    value = total + float(table[history, token])
                    wanted = value - diversity_penalty * said.get(token, 0)
                    longer = (*sequence, token)
                    candidates.append((wanted, (longer, value, mix(history, token))))
            candidates.sort(key=lambda pair: -pair[0])
            taken = [beam for _, beam in candidates[: per_group - len(frozen)]]
            groups[number] = frozen + taken
            for sequence, _, _ in taken:
                said[sequence[-1]] = said.get(sequence[-1], 0) + 1
    return [(sequence, total) for beams in groups for sequence, total, _ in beams]


def check_same(found, picture, truth, message=""):
    """The n-best list of one picture equals the truth's (sequence, score) pairs."""
    count = found.token_ids.shape[1]
    assert len(truth) == count, message
    for place, (sequence, score) in enumerate(truth):
        length = found.lengths[picture, place]
        got = found.token_ids[picture, place]
        assert tuple(got[:length]) == sequence, f"{message} place {place}: {got} != {sequence}"
        assert not got[length:].any(), "padding is not zero"
        assert math.isclose(found.scores[picture, place], score, abs_tol=2e-5), message


_SEARCHER = Searcher()


@pytest.fixture
def toy():
    """The toy model and its oracles."""
    return SimpleNamespace(
        table=make_table,
        step=toy_step,
        start=toy_start,
        search=_SEARCHER,
        all_sequences=all_sequences,
        best_of=best_of,
        slow_beam=slow_beam,
        check_same=check_same,
        mix=mix,
    )
