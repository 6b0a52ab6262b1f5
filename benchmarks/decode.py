"""Decoding speed beside Hugging Face ``generate`` on the same shapes, in one run.

    pip install torch transformers
    python benchmarks/decode.py

2 layers, width 384, 6 heads, vocabulary 2,539, 49 picture tokens, 22 steps, no early stop, random
weights, both sides from encoder states to token ids. Hugging Face runs a 2-layer BART decoder with
cross-attention (the nearest thing it has to a small captioner); ours is the ``TransformerDecoder``,
and the ``LSTMDecoder`` for comparison.

The reason for the gain: the whole search is one compiled loop. A step is tens of small operations;
outside a compiled graph each costs more to start than to run. With beams, ours reads a picture once
for all of them, and the picture's keys and values are never copied or reordered.

What is left at batch 1 is memory: a step of the Transformer reads 20 MB of weights, by one core.
XLA would fuse each bias into its product of one row, which then reads several times slower:
``keras_vlm.core.dense`` keeps them apart. The LSTM's step reads 16 MB; the sum of its two products
is still fused.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import torch
import transformers

from keras_vlm.decoding import BeamSearch, MinimumLength
from keras_vlm.fusion import MultiHeadFusion
from keras_vlm.tasks.generation import generate
from keras_vlm.text import TEXT_DECODERS, Tokenizer

WIDTH, HEADS, LAYERS, VOCABULARY, TOKENS, STEPS = 384, 6, 2, 2539, 49, 22
SETTINGS = ((1, 1), (1, 5), (32, 1), (32, 5))


def hugging_face():
    """Returns a function (batch, beams) -> a function that decodes once."""
    config = transformers.BartConfig(
        vocab_size=VOCABULARY, d_model=WIDTH, encoder_layers=1, decoder_layers=LAYERS,
        encoder_attention_heads=HEADS, decoder_attention_heads=HEADS,
        encoder_ffn_dim=4 * WIDTH, decoder_ffn_dim=4 * WIDTH, max_position_embeddings=64,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=2,
        forced_eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BartForConditionalGeneration(config).eval()

    def make(batch, beams):
        states = torch.randn(batch, TOKENS, WIDTH)
        mask = torch.ones(batch, TOKENS, dtype=torch.long)

        def decode():
            # Made anew, for `generate` repeats the states for each beam in place.
            encoded = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=states)
            with torch.inference_mode():
                found = model.generate(
                    encoder_outputs=encoded, attention_mask=mask, num_beams=beams,
                    do_sample=False, max_new_tokens=STEPS, min_new_tokens=STEPS,
                )  # fmt: skip
            if found.shape != (batch, STEPS + 1):
                raise RuntimeError(f"Hugging Face stopped early: {tuple(found.shape)}")

        return decode

    return make


def ours(kind):
    """Returns a function (batch, beams) -> a function that decodes once."""
    fusion = MultiHeadFusion(HEADS)
    decoder = TEXT_DECODERS[kind](
        fusion, hidden_dim=WIDTH, num_layers=LAYERS, vocabulary_size=VOCABULARY
    )
    decoder.build((None, TOKENS, WIDTH), (None, None, STEPS))
    tokenizer = Tokenizer([f"w{i}" for i in range(VOCABULARY - 4)], max_length=STEPS + 1)

    def make(batch, beams):
        # Longer than there are steps: the end token is never allowed.
        strategy = BeamSearch(beams, constraints=(MinimumLength(STEPS + 1),))
        features = tf.random.normal((batch, TOKENS, WIDTH))
        search = tf.function(
            lambda features: generate(decoder, tokenizer, features, strategy), jit_compile=True
        )

        def decode():
            found = search(features)
            lengths = found.lengths.numpy()
            if (lengths != STEPS).any():
                raise RuntimeError(f"stopped early: {lengths}")

        return decode

    return make


def median_seconds(function, repeats):
    """Returns the median time of a call, after two that do not count."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


def main():
    """Prints captions per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=7, help="timed calls each (default: 7)")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(os.cpu_count())
    sides = {
        "Hugging Face generate": hugging_face(),
        "keras_vlm transformer": ours("transformer"),
        "keras_vlm lstm": ours("lstm"),
    }
    print(f"{'':26s}{'batch':>6s}{'beam':>6s}{'captions/s':>12s}{'ratio':>8s}")
    for batch, beams in SETTINGS:
        base = None
        for name, make in sides.items():
            speed = batch / median_seconds(make(batch, beams), repeats)
            base = base or speed
            print(f"{name:26s}{batch:6d}{beams:6d}{speed:12.1f}{speed / base:8.2f}", flush=True)


if __name__ == "__main__":
    main()
