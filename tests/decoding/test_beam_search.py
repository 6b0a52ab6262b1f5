"""Beam search against exhaustive search, a slow beam search, greedy search, and itself."""

import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.decoding import BeamSearch, DiverseBeamSearch, beam_search, diverse_beam_search
from keras_vlm.decoding.beam_core import GroupChoice, run_beams
from keras_vlm.decoding.greedy import GreedySearch

# More places than there are sequences of words 1, 4, 5 up to this length: nothing is pushed out.
FULL, LENGTH, VOCABULARY = 128, 4, 6


@pytest.mark.parametrize("length_penalty", [0, 0.7, 1.0])
def test_full_width_is_exhaustive_search(toy, length_penalty):
    strategy = BeamSearch(FULL, length_penalty, num_return=9, constraints=())
    for seed, end_bonus in ((0, 0.0), (1, 2.0), (2, -2.0)):
        table = toy.table(3, VOCABULARY, seed, end_bonus)
        found = toy.search(strategy, table, LENGTH)
        for picture in range(3):
            truth = toy.best_of(
                toy.all_sequences(table[picture], LENGTH), length_penalty, strategy.num_return
            )
            toy.check_same(found, picture, truth, f"seed {seed} picture {picture}")


def test_full_width_returns_every_sequence_and_marks_those_that_do_not_exist(toy):
    strategy = BeamSearch(FULL, num_return=FULL, constraints=())
    table = toy.table(2, VOCABULARY, 5)
    found = toy.search(strategy, table, LENGTH)
    for picture in range(2):
        truth = toy.best_of(toy.all_sequences(table[picture], LENGTH), 1, FULL)
        assert len(truth) == 1 + 3 + 9 + 27 + 81
        real = len(truth)
        assert set(found.lengths[picture, real:]) == {0}
        assert set(found.scores[picture, real:]) == {-np.inf}
        assert not found.token_ids[picture, real:].any()
        got = {
            tuple(ids[:length])
            for ids, length in zip(
                found.token_ids[picture], found.lengths[picture, :real], strict=False
            )
        }
        assert got == {sequence for sequence, _ in truth}


@pytest.mark.parametrize(("size", "length_penalty"), [(2, 1.0), (3, 0), (5, 0.7)])
def test_narrow_beam_equals_the_slow_one(toy, size, length_penalty):
    strategy = BeamSearch(size, length_penalty, num_return=size, constraints=())
    for seed, end_bonus in ((10, 0.0), (11, 2.0), (12, 1.0)):
        table = toy.table(7, 11, seed, end_bonus)
        found = toy.search(strategy, table, 6)
        for picture in range(7):
            truth = toy.best_of(toy.slow_beam(table[picture], size, 6), length_penalty, size)
            toy.check_same(found, picture, truth, f"seed {seed} picture {picture}")


def test_the_early_stop_changes_nothing(toy):
    """num_return 1 stops sooner than num_return 5, the slow beam never."""
    strategy = BeamSearch(5, 0, constraints=())
    table = toy.table(13, 11, 20, 1.0)
    found = toy.search(strategy, table, 13)
    for picture in range(13):
        truth = toy.best_of(toy.slow_beam(table[picture], 5, 13), 0, 1)
        toy.check_same(found, picture, truth)


def count_steps(step):
    steps = []

    def counting(token_ids, state):
        steps.append(1)
        return step(token_ids, state)

    return counting, steps


@pytest.mark.parametrize(
    ("end_probability", "length_penalty", "max_length", "expected"),
    [
        # A sum only falls: what ended with 0.9 beats all that goes on with 0.05.
        (0.9, 0, 7, 1),
        # ln 0.05 / 40 still beats ln 0.9; 2 ln 0.05 / 40 does not.
        (0.9, 1.0, 40, 2),
        # 0.45 ** 2 still beats 0.1, and 0.45 ** 3 does not.
        (0.1, 0, 7, 3),
        (1e-9, 1.0, 7, 7),
    ],
)
def test_it_stops_when_nothing_better_can_come(
    end_probability, length_penalty, max_length, expected
):
    """Eagerly, where steps can be counted; words 4 and 5 share what the end leaves."""
    rest = (1 - end_probability) / 2
    log_probs = np.log(np.array([1e-9, 1e-9, 1e-9, end_probability, rest, rest], "float32"))

    def step(token_ids, state):
        return tf.tile(tf.constant(log_probs)[None], [tf.shape(token_ids)[0], 1]), state

    counting, steps = count_steps(step)
    found = beam_search(
        counting,
        tf.zeros([4]),
        batch_size=1,
        beam_size=4,
        max_length=max_length,
        length_penalty=length_penalty,
    )
    assert len(steps) == expected
    assert (found.lengths[0, 0] == 1) == (expected < 7)


def test_beam_of_one_is_greedy(toy):
    """Through the loop itself: the public class would take greedy search's shortcut."""
    table = toy.table(11, 7, 30, 1.0)
    strategy = BeamSearch(1, 1.0, constraints=())
    greedy = toy.search(GreedySearch(constraints=()), table, 6)
    looped = tf.function(
        lambda table: run_beams(
            toy.step(table),
            toy.start(11, 1),
            GroupChoice(1),
            strategy,
            batch_size=11,
            max_length=6,
        )
    )(tf.constant(table))
    np.testing.assert_array_equal(looped.token_ids, greedy.token_ids)
    np.testing.assert_array_equal(looped.lengths, greedy.lengths)
    np.testing.assert_allclose(looped.scores, greedy.scores, rtol=1e-6)
    short = toy.search(strategy, table, 6)
    np.testing.assert_array_equal(short.token_ids, greedy.token_ids)
    assert len(set(greedy.lengths[:, 0])) > 2, "the toy should end at different lengths"


def test_a_batch_equals_its_pictures_one_by_one(toy):
    strategy = BeamSearch(3, num_return=2, constraints=())
    table = toy.table(7, 11, 11, 2.0)
    together = toy.search(strategy, table, 6)
    for picture in range(7):
        alone = toy.search(strategy, table[picture : picture + 1], 6)
        np.testing.assert_array_equal(alone.token_ids[0], together.token_ids[picture])
        np.testing.assert_array_equal(alone.scores[0], together.scores[picture])


@pytest.mark.parametrize(
    "strategy",
    [
        BeamSearch(3, num_return=3, constraints=()),
        BeamSearch(2, 0.7, num_return=2, forced_ids=[[4, 5], 7]),
        DiverseBeamSearch(4, 2, num_return=4),
    ],
    ids=["plain", "forced", "diverse"],
)
def test_xla_changes_nothing(toy, strategy):
    table = toy.table(5, 11, 40, 1.0)
    plain = toy.search(strategy, table, 6)
    compiled = toy.search(strategy, table, 6, jit=True)
    np.testing.assert_array_equal(plain.token_ids, compiled.token_ids)
    np.testing.assert_array_equal(plain.lengths, compiled.lengths)
    np.testing.assert_allclose(plain.scores, compiled.scores, rtol=1e-5)


def test_eager_equals_graph(toy):
    table = toy.table(2, 11, 41, 1.0)
    eager = beam_search(
        toy.step(tf.constant(table)),
        toy.start(2, 3),
        batch_size=2,
        beam_size=3,
        max_length=6,
        num_return=2,
    )
    graph = toy.search(BeamSearch(3, num_return=2, constraints=()), table, 6)
    np.testing.assert_array_equal(eager.token_ids, graph.token_ids)
    np.testing.assert_allclose(eager.scores, graph.scores, rtol=1e-6)


@pytest.mark.parametrize(("size", "num_groups", "penalty"), [(4, 2, 0.7), (6, 3, 2.0), (4, 4, 1.3)])
def test_diverse_groups_equal_the_slow_ones(toy, size, num_groups, penalty):
    strategy = DiverseBeamSearch(size, num_groups, penalty, num_return=size, constraints=())
    table = toy.table(5, 11, 50, 1.0)
    found = toy.search(strategy, table, 5)
    for picture in range(5):
        slow = toy.slow_beam(table[picture], size, 5, num_groups, penalty)
        truth = toy.best_of(slow, strategy.length_penalty, size)
        # Groups may hold equal sequences, whose order is free.
        toy.check_same(found, picture, truth, f"picture {picture}")


def test_diversity_is_worth_its_name(toy):
    table = toy.table(5, 11, 51)
    alike = toy.search(DiverseBeamSearch(4, 4, 0, num_return=4), table, 5)
    varied = toy.search(DiverseBeamSearch(4, 4, 5.0, num_return=4), table, 5)
    for picture in range(5):
        assert len({tuple(ids) for ids in alike.token_ids[picture]}) == 1
        assert len({ids[0] for ids in varied.token_ids[picture]}) == 4


def test_one_group_is_plain_beam_search(toy):
    table = toy.table(5, 11, 52, 1.0)
    arguments = {"batch_size": 5, "beam_size": 3, "max_length": 5, "num_return": 3}
    step, state = toy.step(tf.constant(table)), toy.start(5, 3)
    plain = beam_search(step, state, **arguments)
    grouped = diverse_beam_search(step, state, num_groups=1, **arguments)
    np.testing.assert_array_equal(plain.token_ids, grouped.token_ids)
    np.testing.assert_array_equal(plain.scores, grouped.scores)


def test_the_rows_of_any_state_follow_their_hypotheses(toy):
    """A state that records the tokens it was fed must record the winner's own."""
    table = tf.constant(toy.table(3, 11, 60))
    inner = toy.step(table)
    recorded = []

    def step(token_ids, state):
        log_probs, toy_state = inner(token_ids, state["toy"])
        here = tf.range(7) == state["count"][:, None]
        fed = tf.where(here, token_ids[:, None], state["fed"])
        recorded.append((fed, state["count"]))
        return log_probs, {"toy": toy_state, "count": state["count"] + 1, "fed": fed}

    state = {
        "toy": toy.start(3, 5),
        "count": tf.zeros([15], tf.int32),
        "fed": tf.zeros([15, 7], tf.int32),
    }
    found = beam_search(step, state, batch_size=3, beam_size=5, max_length=7, length_penalty=0)
    fed = recorded[-1][0].numpy().reshape(3, 5, 7)
    for picture in range(3):
        words = found.token_ids[picture, 0].numpy()
        length = found.lengths[picture, 0].numpy()
        expected = [2, *words[: length - 1]]
        assert any(list(row[: len(expected)]) == expected for row in fed[picture])


@pytest.mark.parametrize("size", [1, 3])
def test_a_step_may_lose_static_shapes(toy, size):
    """A loop in a graph refuses tensors that come back less well known than they went in."""
    table = toy.table(2, 11, 61)
    strategy = BeamSearch(size, constraints=())

    @tf.function
    def run(table, rows):
        inner = toy.step(table)

        def step(token_ids, state):
            log_probs, state = inner(token_ids, state)
            return log_probs, tf.nest.map_structure(lambda leaf: leaf[:rows], state)

        return strategy(step, toy.start(2, size), batch_size=2, max_length=5)

    found = run(tf.constant(table), tf.constant(2 * size))
    expected = toy.search(strategy, table, 5)
    np.testing.assert_array_equal(found.token_ids, expected.token_ids)


def test_a_saved_model_takes_any_batch(toy, tmp_path):
    """Plain ops only, no XLA, and a batch size unknown when it is traced."""
    table = toy.table(1, 11, 70, 1.0)[0]
    strategy = BeamSearch(3, num_return=2, forced_ids=[5])

    class Server(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
        def serve(self, pictures):
            batch = tf.shape(pictures)[0]
            step = toy.step(tf.repeat(tf.constant(table)[None], batch, axis=0))
            state = toy.start(batch, strategy.rows_per_picture)
            found = strategy(step, state, batch_size=batch, max_length=5)
            return {"token_ids": found.token_ids, "scores": found.scores}

    server = Server()
    tf.saved_model.save(server, str(tmp_path), signatures=server.serve)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    graph = served.graph.as_graph_def()
    ops = {node.op for node in graph.node}
    for function in graph.library.function:
        ops |= {node.op for node in function.node_def}
        assert not function.attr["_XlaMustCompile"].b
    assert not [op for op in ops if op.startswith("Xla")]
    for batch in (1, 2, 5):
        found = served(tf.zeros([batch], tf.int32))
        assert found["token_ids"].shape == (batch, 2, 5)
        assert len(np.unique(found["scores"].numpy()[:, 0])) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size must be a whole number >= 1, got 0"),
        ({"beam_size": 3, "num_return": 4}, "num_return must be .* from 1 to 3, got 4"),
        ({"beam_size": 3, "length_penalty": -1}, "length_penalty must be .* >= 0, got -1"),
        ({"beam_size": 3, "forced_ids": [5, 3]}, r"forced_ids must be .* got \[5, 3\]"),
        ({"beam_size": 3, "forced_ids": [[]]}, "forced_ids must be one or more ids"),
        ({"beam_size": 3, "forced_ids": [4, 5, 6, 7, 8]}, "at most 4 words, got 5"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        BeamSearch(**options)


def test_wrong_groups():
    with pytest.raises(ValueError, match="multiple of num_groups 2, got 5"):
        DiverseBeamSearch(5, 2)


def test_wrong_calls(toy):
    table = tf.constant(toy.table(2, 11, 0))
    with pytest.raises(ValueError, match=r"state must have 6 rows \(2 pictures x 3\)"):
        beam_search(toy.step(table), toy.start(2, 1), batch_size=2, beam_size=3, max_length=5)
    with pytest.raises(ValueError, match="max_length must be a whole number >= 1, got 0"):
        beam_search(toy.step(table), toy.start(2, 3), batch_size=2, beam_size=3, max_length=0)
    with pytest.raises(TypeError, match="constraints must be a sequence"):
        BeamSearch(3, constraints=print)


def test_strategies_are_values():
    assert BeamSearch(3, forced_ids=[4, [5, 6]]) == BeamSearch(3, forced_ids=[[4], (5, 6)])
    assert hash(BeamSearch(3)) == hash(BeamSearch(3))
    assert BeamSearch(3, forced_ids=[4, 5]).rows_per_picture == 9
    assert eval(repr(BeamSearch(3, constraints=[]))) == BeamSearch(3, constraints=())
