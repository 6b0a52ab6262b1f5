"""Training speed beside the same model in plain PyTorch and in the style of the keras.io example.

    pip install torch
    python benchmarks/train_step.py [--steps 10]

One step is 32 pictures x 5 captions x 22 positions, width 384, vocabulary 2,539, 49 picture tokens;
caption lengths are those of Flickr8k (mean 12.6 of 22, standard deviation 3.6). All variants run in
this one process, in turns, and count the same tokens. The three models are one:

- PyTorch, plain: captions are rows, so a picture is projected once a caption; padding is computed
  and then masked out of the loss. So almost everybody writes it.
- Keras, plain: the same in the manner of the keras.io captioning example.
- keras_vlm: the five captions of a picture share its projection, padding is not computed at all
  (`keras_vlm/text/packing.py`), and the loss has its gradient in closed form.

The reason for the gain is that 43 % of the positions are padding, and that keys and values of a
picture cost as much as a caption does. Where the CPU multiplies bfloat16 faster than float32 (AMX),
mixed bfloat16 adds to it; elsewhere it does not, and the line `matrix product` says which it is.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import torch
from torch import nn

from keras_vlm.fusion import MultiHeadFusion
from keras_vlm.losses import MaskedCrossEntropy
from keras_vlm.tasks.captioning import Captioner
from keras_vlm.text import TEXT_DECODERS, Tokenizer

PICTURES, CAPTIONS, LENGTH, WIDTH, HEADS = 32, 5, 22, 384, 6
VOCABULARY, TOKENS = 2539, 49


def make_batch():
    """Returns features [B,N,C], token_ids and targets [B,K,T]."""
    random = np.random.default_rng(0)
    lengths = random.normal(12.6, 3.6, (PICTURES, CAPTIONS)).round().clip(4, LENGTH)
    real = np.arange(LENGTH + 1) < lengths[..., None] + 1
    ids = random.integers(4, VOCABULARY, (PICTURES, CAPTIONS, LENGTH + 1)) * real
    features = random.normal(size=(PICTURES, TOKENS, WIDTH)).astype(np.float32)
    return features, ids[..., :-1].astype(np.int32), ids[..., 1:].astype(np.int32)


class TorchModel(nn.Module):
    """The captioner as PyTorch users write it; ``kind`` is ``"lstm"`` or ``"transformer"``."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.memory = nn.Linear(WIDTH, WIDTH)
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.dropout = nn.Dropout(0.5)
        self.bias = nn.Parameter(torch.zeros(VOCABULARY))
        if kind == "lstm":
            self.state = nn.Linear(WIDTH, 2 * WIDTH)
            self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
            self.look = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
            self.join = nn.Linear(2 * WIDTH, WIDTH)
        else:
            self.positions = nn.Parameter(torch.randn(LENGTH, WIDTH) * WIDTH**-0.5)
            layer = nn.TransformerDecoderLayer(
                WIDTH, HEADS, 4 * WIDTH, 0.5, nn.functional.gelu, batch_first=True, norm_first=True
            )
            self.layers = nn.TransformerDecoder(layer, 2, nn.LayerNorm(WIDTH))
            mask = nn.Transformer.generate_square_subsequent_mask(LENGTH)
            self.register_buffer("future", mask)

    def forward(self, features, ids):
        """Returns logits [B*K,T,V]."""
        memory = self.dropout(torch.relu(self.memory(features)))
        memory = memory.repeat_interleave(CAPTIONS, 0)
        words = self.dropout(self.embedding(ids.reshape(-1, LENGTH)))
        if self.kind == "lstm":
            state = torch.tanh(self.state(memory.mean(1))).chunk(2, -1)
            hidden, _ = self.lstm(words, tuple(part[None].contiguous() for part in state))
            seen, _ = self.look(self.dropout(hidden), memory, memory, need_weights=False)
            hidden = torch.tanh(self.join(torch.cat([hidden, seen], -1)))
        else:
            hidden = self.layers(words + self.positions, memory, tgt_mask=self.future)
        return self.dropout(hidden) @ self.embedding.weight.T + self.bias


def torch_step(kind, precision, batch):
    """Returns a function that trains one step."""
    model = TorchModel(kind)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    loss = nn.CrossEntropyLoss(ignore_index=0, label_smoothing=0.1)
    features, ids, targets = (torch.tensor(part) for part in batch)
    ids, targets = ids.long(), targets.long().reshape(-1)

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "mixed_bfloat16"):
            logits = model(features, ids)
        loss(logits.float().reshape(-1, VOCABULARY), targets).backward()
        optimizer.step()

    return step


def keras_plain_step(kind, batch):
    """Returns a step of the keras.io example's kind of model: rows are captions."""
    features = keras.Input((TOKENS, WIDTH))
    ids = keras.Input((LENGTH,), dtype="int32")
    memory = keras.layers.Dense(WIDTH, activation="relu")(features)
    memory = keras.layers.Dropout(0.5)(memory)
    words = keras.layers.Embedding(VOCABULARY, WIDTH)(ids)
    if kind == "lstm":
        mean = keras.layers.GlobalAveragePooling1D()(memory)
        state = [keras.layers.Dense(WIDTH, activation="tanh")(mean) for _ in range(2)]
        words = keras.layers.Dropout(0.5)(words)
        hidden = keras.layers.LSTM(WIDTH, return_sequences=True)(words, initial_state=state)
        seen = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(hidden, memory)
        hidden = keras.layers.Concatenate()([hidden, seen])
        hidden = keras.layers.Dense(WIDTH, activation="tanh")(hidden)
    else:
        hidden = words
        for _ in range(2):
            normal = keras.layers.LayerNormalization()(hidden)
            attention = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS, dropout=0.5)
            hidden = hidden + attention(normal, normal, use_causal_mask=True)
            normal = keras.layers.LayerNormalization()(hidden)
            attention = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS, dropout=0.5)
            hidden = hidden + attention(normal, memory)
            normal = keras.layers.LayerNormalization()(hidden)
            wide = keras.layers.Dense(4 * WIDTH, activation="gelu")(normal)
            hidden = hidden + keras.layers.Dropout(0.5)(keras.layers.Dense(WIDTH)(wide))
        hidden = keras.layers.LayerNormalization()(hidden)
    logits = keras.layers.Dense(VOCABULARY)(keras.layers.Dropout(0.5)(hidden))
    model = keras.Model([features, ids], logits)
    model.compile(
        keras.optimizers.AdamW(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0),
        jit_compile=False,
    )
    rows = np.repeat(batch[0], CAPTIONS, axis=0)
    flat = [part.reshape(-1, LENGTH) for part in batch[1:]]
    return _keras_step(model, ([rows, flat[0]], flat[1]))


def keras_vlm_captioner(kind, precision, tokenizer):
    """Returns the captioner that ``build_captioner`` makes, for features that are there already."""
    policy = keras.DTypePolicy(precision)
    images = keras.Input((7, 7, WIDTH))
    encoder = keras.Model(images, keras.layers.Reshape((TOKENS, WIDTH))(images), name="encoder")
    decoder = TEXT_DECODERS[kind](
        MultiHeadFusion(HEADS, dtype=policy), hidden_dim=WIDTH, dropout=0.5, memory_dropout=0.5,
        dtype=policy,
    )
    return Captioner(encoder, decoder, tokenizer)


def keras_vlm_step(kind, precision, batch):
    """Returns a step of the captioner, on cached features."""
    tokenizer = Tokenizer([f"w{i}" for i in range(VOCABULARY - 4)], max_length=LENGTH + 1)
    model = keras_vlm_captioner(kind, precision, tokenizer)
    model.compile(keras.optimizers.AdamW(1e-3), MaskedCrossEntropy(0.1), jit_compile=False)
    return _keras_step(model, ({"image_features": batch[0], "token_ids": batch[1]}, batch[2]))


def _keras_step(model, data):
    data = tf.nest.map_structure(tf.constant, data)
    model.optimizer.build(model.trainable_variables)
    return tf.function(lambda: model.train_step(data))


def matrix_product_speed():
    """Prints what the CPU does in each precision, for the ratios depend on it."""
    for name, dtype in (("float32", tf.float32), ("bfloat16", tf.bfloat16)):
        left = tf.cast(tf.random.normal((3520, WIDTH)), dtype)
        right = tf.cast(tf.random.normal((WIDTH, VOCABULARY)), dtype)
        product = tf.function(tf.matmul)
        torch_type = getattr(torch, name)
        torch_left, torch_right = (
            torch.randn(*part.shape).to(torch_type) for part in (left, right)
        )
        work = 2 * 3520 * WIDTH * VOCABULARY / 1e9
        ours = work / median_seconds(lambda: product(left, right), 9)  # noqa: B023
        theirs = work / median_seconds(lambda: torch_left @ torch_right, 9)  # noqa: B023
        print(f"matrix product {name}: TensorFlow {ours:.0f}, PyTorch {theirs:.0f} GFLOP/s")


def median_seconds(function, repeats):
    """Returns the median time of a call, after two that do not count."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


def main():
    """Prints tokens per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=10, help="steps timed a variant (default: 10)")
    steps = parser.parse_args().steps
    torch.set_num_threads(os.cpu_count())
    matrix_product_speed()
    batch = make_batch()
    tokens = int((batch[2] != 0).sum())
    print(f"{tokens} real tokens of {batch[2].size} positions a step\n")
    print(f"{'':34s}{'tokens/s':>10s}{'x PyTorch':>11s}")
    for kind in ("lstm", "transformer"):
        variants = {
            "PyTorch, float32": torch_step(kind, "float32", batch),
            "PyTorch, mixed bfloat16": torch_step(kind, "mixed_bfloat16", batch),
            "Keras as keras.io, float32": keras_plain_step(kind, batch),
            "keras_vlm, float32": keras_vlm_step(kind, "float32", batch),
            "keras_vlm, mixed bfloat16": keras_vlm_step(kind, "mixed_bfloat16", batch),
        }
        base = None
        for name, step in variants.items():
            speed = tokens / median_seconds(step, steps)
            base = base or speed
            print(f"{kind + ': ' + name:42s}{speed:10.0f}{speed / base:8.2f}", flush=True)


if __name__ == "__main__":
    main()
