"""Where each word of a caption looked.

Refuses to know how the caption was found. Dimension letters: N picture tokens, T text positions.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_vlm.core.files import replace_file
from keras_vlm.data.image_inputs import read_images
from keras_vlm.text.tokenizer import END_ID


@dataclasses.dataclass(frozen=True)
class WordAttention:
    """A caption and where its words looked.

    Attributes:
        image: [H,W,3] float32 0..255, as the model saw it.
        words: list of T words.
        weights: [T,h,w] float32, each word's share of attention over the grid, summing to 1.
    """

    image: np.ndarray
    words: list
    weights: np.ndarray


def check_attends(captioner):
    """Checks that a model can say where its words look.

    Args:
        captioner: any model with a ``caption`` method.

    Raises:
        TypeError: it cannot.
    """
    if getattr(captioner, "region_shapes", None):
        raise TypeError(
            "attend_words: captioner must look at the grid alone, got one with regions: their "
            "weights are those of captioner.text_decoder.attend."
        )
    attends = hasattr(getattr(captioner, "text_decoder", None), "attend")
    if not attends or getattr(captioner, "temporal", None) is not None:
        raise TypeError(
            "attend_words: captioner must be a Captioner, got "
            f"{type(captioner).__name__}: an ensemble, a SavedModel and a model of clips do not "
            "say where a word looked."
        )


def attend_words(captioner, images, captions=None):
    """Says where each word looked.

    Args:
        captioner: a ``Captioner`` whose backbone keeps a grid.
        images: pictures, as for ``Captioner.caption``.
        captions: list of strings, one a picture, or None to write them by beam search.

    Returns:
        A list of ``WordAttention``.

    Raises:
        TypeError: ``captioner`` is another kind of model.
        ValueError: there are not as many captions as pictures.
    """
    check_attends(captioner)
    pictures = np.concatenate(
        [batch for batch, _ in read_images(images, captioner.image_size, resize=captioner.resize)]
    )
    if captions is None:
        captions = captioner.caption(pictures)
    if len(captions) != len(pictures):
        raise ValueError(
            f"attend_words: captions must be as many as the {len(pictures)} pictures, got "
            f"{len(captions)}."
        )
    token_ids = captioner.tokenizer(tf.constant(captions))
    features = captioner.encoder(pictures, training=False)
    _, weights = captioner.text_decoder.attend(features, token_ids[:, None, :-1], training=False)
    height, width = grid_of(captioner)
    found = []
    for picture, ids, weight in zip(
        pictures, token_ids.numpy(), weights.numpy()[:, 0], strict=True
    ):
        targets = ids[1:]
        length = int(np.argmax(targets == END_ID)) if END_ID in targets else len(targets)
        words = captioner.tokenizer.detokenize(targets[:length, None]).numpy()
        maps = weight[:length].reshape(length, height, width).astype(np.float32)
        found.append(WordAttention(picture, [word.decode("utf-8") for word in words], maps))
    return found


def grid_of(captioner):
    """Returns the grid ``(h, w)`` of a captioner's picture tokens.

    Args:
        captioner: a ``Captioner``.

    Returns:
        Two integers whose product is N.

    Raises:
        ValueError: the backbone names no grid and N is no square.
    """
    grid = getattr(captioner.encoder, "grid_size", None)
    if grid is None:
        tokens = captioner.encoder.output_shape[1]
        side = round(tokens**0.5)
        if side * side != tokens:
            raise ValueError(f"attention maps need a grid, got {tokens} picture tokens in a row.")
        grid = (side, side)
    return grid


def plot_attention(found, path, *, words_shown=7):
    """Draws photos, their captions and where each word looked.

    Args:
        found: a list of ``WordAttention``.
        path: the PNG to write, atomically.
        words_shown: maps a row; of a longer caption those words that looked most sharply.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.7 * (words_shown + 1.6), 2.1 * len(found)), layout="constrained")
    rows = figure.subfigures(len(found), 1, squeeze=False)[:, 0]
    for row, item in zip(rows, found, strict=True):
        row.suptitle(" ".join(item.words), fontsize=11)
        axes = row.subplots(1, words_shown + 1)
        height, width = item.image.shape[:2]
        picture = np.clip(item.image / 255, 0, 1)
        axes[0].imshow(picture)
        sharpness = item.weights.max(axis=(1, 2))
        chosen = np.sort(np.argsort(-sharpness)[:words_shown])
        for axis, place in zip(axes[1:], chosen, strict=False):
            axis.imshow(picture)
            axis.imshow(
                item.weights[place],
                extent=(0, width, height, 0),
                cmap="inferno",
                alpha=0.6,
                interpolation="bicubic",
            )
            axis.set_title(item.words[place], fontsize=9)
        for axis in axes:
            axis.set_axis_off()
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=100)
