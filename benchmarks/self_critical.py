"""A step of self-critical training beside the same in PyTorch, and where the time of both goes.

    pip install torch
    python benchmarks/self_critical.py [DATA] [--steps 10] [--threads 2]

One step is 32 pictures x 5 samples of at most 22 words, width 384, 6 heads, vocabulary 2,539, 49
picture tokens, features that are there already, 5 references a picture from DATA (rendered scenes
without it), whose captions also give the document frequencies. Both sides draw with the same
probabilities: a word's logit is the logarithm of how often the references say it, and a little of
what a model with random weights makes of the picture. So sentences are as long as references are
on average, and share words with them. keras_vlm's Transformer of random weights says more than
PyTorch's: its sentences are 1.4 times as long (see ``words``), and its ratio is too low by that.

PyTorch is written as https://github.com/ruotianluo/self-critical.pytorch does it: samples are rows;
a loop in Python draws word by word and keeps the log-probabilities for the gradient, which flows
back through the loop; words become tuples and go through CIDEr-D in Python, as in
``pyciderevalcap``, each sample with its references. What a picture's rows have in common is
projected before the loop. Of its Transformer there are two: one reads the sentence so far anew at
each word, the other keeps keys and values. The baseline is the mean of the other samples of a
picture, on both sides, and both rewards are checked to be equal.

keras_vlm draws in one loop of the graph without a gradient, and then reads all samples at once,
without padding, for the gradient. Its CIDEr-D counts n-grams as whole numbers, in NumPy. A step's
shares: ``draw`` ends where the reward begins, ``gradient`` (and update) begins where it ends. What
of the gradient does not need the reward may run beside it.
"""

import argparse
import collections
import math
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import torch
from torch import nn
from torch.nn import functional
from train_step import (
    CAPTIONS,
    HEADS,
    LENGTH,
    PICTURES,
    TOKENS,
    VOCABULARY,
    WIDTH,
    TorchModel,
    keras_vlm_captioner,
)

from keras_vlm import load_data
from keras_vlm.losses import MaskedCrossEntropy
from keras_vlm.text import Tokenizer
from keras_vlm.text.tokenizer import END_ID, PAD_ID, START_ID
from keras_vlm.training.self_critical import SelfCritical

# The updates are made and change nothing: sides that learned would soon draw sentences of other
# lengths, and so do other work.
SAMPLES, RATE, PARTS = 5, 0.0, ("draw", "reward", "gradient")


def read_data(name):
    """Returns the training split, a tokenizer of 2,539 ids, references [B,K,T] and logits [V]."""
    examples = load_data(name)["train"]
    words = Tokenizer.fit(examples, minimum_count=5, max_length=LENGTH + 1).vocabulary
    filler = [f"w{i}" for i in range(VOCABULARY)]
    tokenizer = Tokenizer([*words, *filler][: VOCABULARY - 4], max_length=LENGTH + 1)
    ids = [tokenizer(texts[:CAPTIONS]).numpy()[:, 1:] for texts in examples.captions]
    references = np.zeros((PICTURES, CAPTIONS, LENGTH), np.int32)
    for place, rows in enumerate(ids[:PICTURES]):
        references[place, : len(rows)] = rows
    counts = np.bincount(np.concatenate(ids).ravel(), minlength=VOCABULARY) + 1e-3
    counts[:END_ID] = 1e-9
    return examples, tokenizer, references, np.log(counts / counts.sum()).astype(np.float32)


class PlainCider:
    """CIDEr-D with a dictionary a sentence."""

    def __init__(self, documents):
        self.frequencies = collections.Counter()
        for captions in documents:
            self.frequencies.update({gram for words in captions for gram in count(words)})
        self.log_total = math.log(len(documents))

    def weigh(self, words):
        """Returns a sentence's weights and their norms for each n, and its number of pairs."""
        weights, norms = [{} for _ in range(4)], [0.0] * 4
        for gram, times in count(words).items():
            rarity = self.log_total - math.log(max(1, self.frequencies.get(gram, 0)))
            weights[len(gram) - 1][gram] = times * rarity
            norms[len(gram) - 1] += (times * rarity) ** 2
        return weights, [math.sqrt(norm) for norm in norms], max(len(words) - 1, 0)

    def score(self, sample, references):
        """Returns the score of one sentence, from 0 to 10."""
        ours, our_norms, our_pairs = self.weigh(sample)
        total = 0.0
        for reference in references:
            theirs, their_norms, their_pairs = self.weigh(reference)
            shorter = math.exp(-((our_pairs - their_pairs) ** 2) / (2 * 6.0**2))
            for n in range(4):
                product = 0.0
                for gram, weight in ours[n].items():
                    other = theirs[n].get(gram, 0.0)
                    product += min(weight, other) * other
                if our_norms[n] and their_norms[n]:
                    total += shorter * product / (our_norms[n] * their_norms[n])
        return 10 * total / len(references) / 4


def count(words):
    """Returns how often which n-gram is in a list of words."""
    grams = collections.defaultdict(int)
    for n in range(1, 5):
        for i in range(len(words) - n + 1):
            grams[tuple(words[i : i + n])] += 1
    return grams


def sentence(row):
    """Returns the ids of a row before its padding."""
    return [word for word in row if word != PAD_ID]


class TorchSampler(TorchModel):
    """Draws captions in a loop; ``cached`` Transformers keep keys and values."""

    def __init__(self, kind, logits, *, cached=False):
        super().__init__(kind)
        self.cached = cached
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.bias.data = torch.tensor(logits)
        if kind == "lstm":
            self.lstm = nn.LSTMCell(WIDTH, WIDTH)

    def sample(self, features):
        """Returns ids [B*S,T], padded, and the log-probabilities of the words."""
        memory = self.dropout(torch.relu(self.memory(features)))
        state = self.start(memory)
        words = torch.full((len(memory) * SAMPLES,), START_ID)
        finished = torch.zeros(len(words), dtype=torch.bool)
        drawn, kept = [], []
        for position in range(LENGTH):
            hidden, state = self.advance(words, position, state)
            logits = self.dropout(hidden) @ self.embedding.weight.T + self.bias
            log_probs = functional.log_softmax(logits, -1)
            words = torch.multinomial(log_probs.detach().exp(), 1)
            kept.append(log_probs.gather(1, words)[:, 0])
            words = words[:, 0].masked_fill(finished, PAD_ID)
            drawn.append(words)
            finished = finished | (words == END_ID)
            if finished.all():
                break
        return torch.stack(drawn, 1), torch.stack(kept, 1)

    def start(self, memory):
        """Returns what the first word needs, a row a sample."""
        if self.kind == "lstm":
            parts = torch.tanh(self.state(memory.mean(1))).chunk(2, -1)
            return repeat(self.read(self.look, memory)), repeat(parts)
        if self.cached:
            layers = self.layers.layers
            return [(repeat(self.read(layer.multihead_attn, memory)), None) for layer in layers]
        return repeat([memory])[0], None

    def advance(self, words, position, state):
        """Returns hidden states [R,D] after one more word, and the state."""
        embedded = self.dropout(self.embedding(words))
        if self.kind == "lstm":
            memory, before = state
            after = self.lstm(embedded, before)
            seen = attend(self.look, self.dropout(after[0])[:, None], memory)[:, 0]
            return torch.tanh(self.join(torch.cat([after[0], seen], -1))), (memory, after)
        embedded = (embedded + self.positions[position])[:, None]
        if self.cached:
            return self.advance_layers(embedded, state)
        memory, before = state
        whole = embedded if before is None else torch.cat([before, embedded], 1)
        mask = self.future[: position + 1, : position + 1]
        return self.layers(whole, memory, tgt_mask=mask)[:, -1], (memory, whole)

    def advance_layers(self, hidden, state):
        """Like ``advance``, for hidden [R,1,D], with the keys and values of each layer."""
        after = []
        for layer, (memory, before) in zip(self.layers.layers, state, strict=True):
            normal = layer.norm1(hidden)
            own = self.read(layer.self_attn, normal)
            if before is not None:
                own = [torch.cat(pair, 2) for pair in zip(before, own, strict=True)]
            hidden = hidden + layer.dropout1(attend(layer.self_attn, normal, own))
            seen = attend(layer.multihead_attn, layer.norm2(hidden), memory)
            hidden = hidden + layer.dropout2(seen)
            wide = layer.dropout(layer.activation(layer.linear1(layer.norm3(hidden))))
            hidden = hidden + layer.dropout3(layer.linear2(wide))
            after.append((memory, own))
        return self.layers.norm(hidden)[:, 0], after

    @staticmethod
    def read(attention, memory):
        """Returns keys and values [B,H,N,D/H] of memory [B,N,D]."""
        weight, bias = attention.in_proj_weight[WIDTH:], attention.in_proj_bias[WIDTH:]
        return [split(part) for part in functional.linear(memory, weight, bias).chunk(2, -1)]


def attend(attention, query, read):
    """Returns what a query [R,T,D] sees of keys and values."""
    weight, bias = attention.in_proj_weight[:WIDTH], attention.in_proj_bias[:WIDTH]
    query = split(functional.linear(query, weight, bias))
    seen = functional.scaled_dot_product_attention(query, *read, dropout_p=attention.dropout)
    return attention.out_proj(seen.transpose(1, 2).flatten(2))


def split(hidden):
    """Turns [R,T,D] into heads [R,H,T,D/H]."""
    return hidden.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def repeat(parts):
    """Repeats the rows of each part, a row a sample."""
    return [part.repeat_interleave(SAMPLES, 0) for part in parts]


def torch_step(kind, features, references, scorer, logits, *, cached=False):
    """Returns a function that trains one step and returns the seconds of its parts."""
    model = TorchSampler(kind, logits, cached=cached)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    features = torch.tensor(features)
    sentences = [[sentence(row) for row in rows.tolist() if any(row)] for rows in references]

    def step():
        times = [time.perf_counter()]
        ids, log_probs = model.sample(features)
        times.append(time.perf_counter())
        rewards = [
            scorer.score(sentence(row), sentences[place // SAMPLES])
            for place, row in enumerate(ids.tolist())
        ]
        times.append(time.perf_counter())
        rewards = torch.tensor(rewards).reshape(-1, SAMPLES)
        others = (rewards.sum(1, keepdim=True) - rewards) / (SAMPLES - 1)
        worth = (rewards - others).reshape(-1, 1)
        real = ids != PAD_ID
        loss = -(log_probs * worth * real).sum() / real.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter())
        return np.diff(times), int(real.sum())

    return step


def keras_vlm_step(kind, features, references, objective, logits):
    """Returns a function that trains one step and returns the seconds of its parts."""
    model = keras_vlm_captioner(kind, "float32", objective.tokenizer)
    model.compile(keras.optimizers.Adam(RATE), MaskedCrossEntropy(0.1), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    embeddings = model.text_decoder.embedding.embeddings
    embeddings.assign(0.02 * keras.random.normal(embeddings.shape))
    model.text_decoder.logit_bias.assign(logits)
    model.objective = objective
    fed = np.pad(references[..., :-1], ((0, 0), (0, 0), (1, 0)), constant_values=START_ID)
    data = {"image_features": tf.constant(features), "token_ids": tf.constant(fed)}
    data = data, tf.constant(references)
    train = tf.function(lambda: model.train_step(data))
    noted = {}

    def timed(samples, targets):
        began = time.perf_counter()
        rewards = SelfCritical.judge(objective, samples, targets)
        noted.update(times=[began, time.perf_counter()], words=np.count_nonzero(samples))
        return rewards

    def step():
        began = time.perf_counter()
        # Looked up when the step is traced.
        objective.judge = timed
        tf.nest.map_structure(lambda value: value.numpy(), train())
        return np.diff([began, *noted["times"], time.perf_counter()]), noted["words"]

    return step


def check_rewards(objective, scorer, references):
    """Raises unless both sides give the same rewards."""
    samples = np.roll(references, 1, axis=0)
    samples[::2, ::2] = references[::2, ::2]
    expected = [
        [scorer.score(sentence(row.tolist()), [sentence(r.tolist()) for r in rows if r.any()])
         for row in drawn]
        for drawn, rows in zip(samples, references, strict=True)
    ]  # fmt: skip
    difference = np.abs(objective.judge(samples, references) - expected).max()
    if difference > 1e-4:
        raise RuntimeError(f"the rewards differ by {difference}")


def take_turns(sides, steps):
    """Returns for each side the median seconds of its parts [3], and the mean words a step."""
    found = {name: [] for name in sides}
    for _ in range(steps + 2):
        for name, step in sides.items():
            found[name].append(step())
    return {
        name: (np.median([parts for parts, _ in rows[2:]], axis=0), np.mean([n for _, n in rows]))
        for name, rows in found.items()
    }


def main():
    """Prints steps per second, ratios and shares."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="?", default="scenes", metavar="DATA", help="references")
    parser.add_argument("--steps", type=int, default=10, help="steps timed a side (default: 10)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="of each side (default: all cores); "
        "1 where other work is running: PyTorch's threads wait for each other, and for that work"
    )  # fmt: skip
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    examples, tokenizer, references, logits = read_data(options.data)
    objective = SelfCritical(examples, tokenizer, num_samples=SAMPLES)
    scorer = PlainCider(
        [
            [sentence(row) for row in tokenizer(texts).numpy()[:, 1:].tolist()]
            for texts in examples.captions
        ]
    )
    check_rewards(objective, scorer, references)
    features = np.random.default_rng(0).normal(size=(PICTURES, TOKENS, WIDTH)).astype(np.float32)
    plain = (features, references, scorer, logits)
    print(f"{'':44s}{'steps/s':>9s}{'ratio':>7s}{'words':>7s}", *(f"{p:>9s}" for p in PARTS))
    for kind in ("lstm", "transformer"):
        sides = {"PyTorch": torch_step(kind, *plain)}
        if kind == "transformer":
            sides["PyTorch, keys and values kept"] = torch_step(kind, *plain, cached=True)
        sides["keras_vlm"] = keras_vlm_step(kind, features, references, objective, logits)
        found = take_turns(sides, options.steps)
        base = found["PyTorch"][0].sum()
        for name, (parts, words) in found.items():
            shares = "".join(f"{share:9.0%} " for share in parts / parts.sum())
            seconds = parts.sum()
            print(f"{kind + ': ' + name:44s}{1 / seconds:9.2f}{base / seconds:7.2f}{words:7.0f} "
                  f"{shares}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
