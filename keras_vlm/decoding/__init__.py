"""Sequences out: searches over token ids.

The seam is the step protocol of ``step.py``: ``step(token_ids [R], state) -> (log_probs [R,V],
state)`` with R = B*W rows, and any nest of tensors as the state. Every search returns ``Decoded``,
best first. It comes as a function, and as a strategy: a hashable value that holds the options,
knows how many rows a picture it needs (``rows_per_picture``) and is called as
``strategy(step, state, batch_size=..., max_length=...)``. Functions constrain nothing by default,
strategies forbid the unknown word.

TensorFlow ops only: a search runs eagerly, in a ``tf.function``, under ``jit_compile=True`` and in
a server without XLA, with the same result, and with a batch size unknown when it is traced.

Refuses to know words, weights and pictures. Dimension letters: B batch, W beams, R = B*W rows,
V vocabulary.
"""

from keras_vlm.decoding.beam_search import BeamSearch as BeamSearch
from keras_vlm.decoding.beam_search import DiverseBeamSearch as DiverseBeamSearch
from keras_vlm.decoding.beam_search import beam_search as beam_search
from keras_vlm.decoding.beam_search import diverse_beam_search as diverse_beam_search
from keras_vlm.decoding.constraints import BannedTokens as BannedTokens
from keras_vlm.decoding.constraints import MinimumLength as MinimumLength
from keras_vlm.decoding.constraints import NoRepeatNgram as NoRepeatNgram
from keras_vlm.decoding.greedy import GreedySearch as GreedySearch
from keras_vlm.decoding.greedy import greedy_search as greedy_search
from keras_vlm.decoding.sampling import Sampling as Sampling
from keras_vlm.decoding.sampling import sample as sample
from keras_vlm.decoding.step import Decoded as Decoded
