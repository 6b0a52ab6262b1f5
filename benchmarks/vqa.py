"""Questions a second, 20 questions of one picture together and apart, and training beside PyTorch.

    python benchmarks/vqa.py

One run on an idle machine. Inference is a frozen EfficientNet-Lite0 at 224 pixels (its features are
what 20 questions share), training a network from scratch on 64 pixels: four convolutions, a
bidirectional GRU of width 128 and low-rank bilinear attention, the same layers in both. PyTorch is
written plainly, question by question as its users do: the picture once, its questions as rows.
"""

import time

import keras
import numpy as np
import tensorflow as tf
import torch

from keras_vlm import GRUEncoder, build_vqa
from keras_vlm.text import Tokenizer
from keras_vlm.text.answers import AnswerVocabulary

WORDS = [f"word{i}" for i in range(60)]
ANSWERS = [f"answer{i}" for i in range(17)]
LENGTH, WIDTH, QUESTIONS, PICTURES = 12, 128, 6, 32
SECONDS = 8


def rate(step, units):
    """Returns units a second of a function called again and again."""
    for _ in range(3):
        step()
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        step()
        count += 1
    return units * count / (time.perf_counter() - began)


def make(backbone, size, **options):
    keras.utils.set_random_seed(0)
    return build_vqa(
        backbone,
        tokenizer=Tokenizer(WORDS, max_length=LENGTH),
        answers=AnswerVocabulary(ANSWERS),
        text=GRUEncoder(hidden_dim=WIDTH, dropout=0.0),
        fusion="hadamard",
        image_size=size,
        **options,
    )


def ask(random, count):
    return [" ".join(random.choice(WORDS, LENGTH - 4)) for _ in range(count)]


def inference():
    """Prints questions a second, and how many times faster 20 questions are together."""
    random = np.random.default_rng(0)
    model = make("efficientnet_lite0", 224)
    picture = random.integers(0, 255, (224, 224, 3)).astype(np.uint8)
    asked = ask(random, 20)
    together = rate(lambda: model.answer(picture, asked), 20)
    apart = rate(lambda: [model.answer(picture, question) for question in asked], 20)
    pictures = np.repeat(picture[None], 64, axis=0)
    batch = ask(random, 64)
    many = rate(lambda: model.answer(pictures, batch, batch_size=64), 64)
    print(f"questions a second, 20 of one picture together: {together:8.0f}")
    print(f"questions a second, 20 of one picture apart:    {apart:8.0f}")
    print(f"questions a second, 64 pictures, one each:      {many:8.0f}")
    print(f"together / apart: {together / apart:.1f}")


class Plain(torch.nn.Module):
    """The same model, as one would write it in PyTorch."""

    def __init__(self):
        super().__init__()
        layers, inputs = [], 3
        for filters, stride in [(32, 2), (64, 2), (128, 2), (128, 1)]:
            layers += [
                torch.nn.Conv2d(inputs, filters, 3, stride, 1, bias=False),
                torch.nn.BatchNorm2d(filters),
                torch.nn.ReLU(),
            ]
            inputs = filters
        self.backbone = torch.nn.Sequential(*layers)
        self.norm = torch.nn.LayerNorm(128)
        self.memory = torch.nn.Linear(128, WIDTH)
        self.positions = torch.nn.Parameter(0.02 * torch.randn(64, WIDTH))
        self.embedding = torch.nn.Embedding(len(WORDS) + 4, WIDTH)
        self.gru = torch.nn.GRU(WIDTH, WIDTH, batch_first=True, bidirectional=True)
        self.pool = torch.nn.Linear(WIDTH, 1, bias=False)
        self.ask, self.key = torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.score = torch.nn.Linear(WIDTH, 2, bias=False)
        self.query, self.seen = torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(2 * WIDTH, WIDTH)
        self.output = torch.nn.Linear(WIDTH, WIDTH)
        self.joint = torch.nn.Linear(2 * WIDTH, WIDTH)
        self.hidden = torch.nn.Linear(WIDTH, 2 * WIDTH)
        self.logits = torch.nn.Linear(2 * WIDTH, len(ANSWERS))

    def forward(self, images, token_ids):
        """Returns logits [B,Q,A] of images [B,3,H,W] and token_ids [B,Q,T]."""
        features = self.backbone(images / 127.5 - 1).flatten(2).transpose(1, 2)
        memory = self.memory(self.norm(features)) + self.positions
        rows = token_ids.flatten(0, 1)
        words = self.gru(self.embedding(rows))[0]
        words = words[..., :WIDTH] + words[..., WIDTH:]
        scores = self.pool(words)[..., 0].masked_fill(rows == 0, -1e9)
        asked = torch.einsum("rt,rtd->rd", scores.softmax(-1), words)
        asked = asked.unflatten(0, token_ids.shape[:2])
        product = torch.tanh(self.ask(asked))[:, :, None] * torch.tanh(self.key(memory))[:, None]
        weights = self.score(product).softmax(2)
        seen = torch.einsum("bqng,bnd->bqgd", weights, memory).flatten(2)
        seen = self.output(torch.tanh(self.query(asked)) * torch.tanh(self.seen(seen)))
        joint = torch.relu(self.joint(torch.cat([asked, seen], dim=-1)))
        return self.logits(torch.relu(self.hidden(joint)))


def training():
    """Prints training steps a second of both, and their ratio."""
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (PICTURES, 64, 64, 3)).astype(np.float32)
    token_ids = random.integers(4, len(WORDS) + 4, (PICTURES, QUESTIONS, LENGTH - 1))
    token_ids[..., 8:] = 0
    right = random.integers(0, len(ANSWERS), (PICTURES, QUESTIONS))
    model = make("conv_small", 64, optimizer=keras.optimizers.AdamW(1e-3))
    model.encoder.trainable = True
    batch = ({"images": images, "token_ids": token_ids.astype(np.int32)},
             np.eye(len(ANSWERS), dtype=np.float32)[right])  # fmt: skip
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    batches = iter(dataset)
    step = model.make_train_function() or model.train_function
    ours = rate(lambda: float(step(batches)["loss"]), 1)

    plain = Plain()
    optimizer = torch.optim.AdamW(plain.parameters(), 1e-3)
    pictures = torch.tensor(images.transpose(0, 3, 1, 2))
    tokens, truth = torch.tensor(token_ids), torch.tensor(right)

    def torch_step():
        optimizer.zero_grad()
        logits = plain(pictures, tokens)
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), truth.flatten()).backward()
        optimizer.step()

    theirs = rate(torch_step, 1)
    print(f"training steps a second: {ours:.2f}, PyTorch {theirs:.2f}, ratio {ours / theirs:.2f}")
    print(f"({PICTURES} pictures of 64 pixels with {QUESTIONS} questions each)")


if __name__ == "__main__":
    inference()
    training()
