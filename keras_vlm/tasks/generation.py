"""Free text from image features: a text decoder meets a search.

Shared by every task that writes. Refuses to know what the text is for. Dimension letters: B batch,
N picture tokens, C their width, n texts a picture, T text positions.
"""

import keras
import tensorflow as tf

from keras_vlm.data.image_inputs import count_pictures, read_images
from keras_vlm.decoding import BeamSearch


def generate(text_decoder, tokenizer, image_features, strategy, memory=None):
    """Writes texts for a batch of pictures, in TensorFlow ops.

    Args:
        text_decoder: a ``TextDecoder``.
        tokenizer: the ``Tokenizer`` it was trained with.
        image_features: [B,N,C] float, or what else the decoder reads, led by B.
        strategy: a search of ``keras_vlm.decoding``, such as ``BeamSearch(3)``.
        memory: what the decoder has read of the features already, or None.

    Returns:
        ``Decoded`` with token_ids [B,n,T] int32, lengths [B,n] int32 and scores [B,n] float32,
        best first.
    """
    length = tokenizer.max_length - 1
    if memory is None:
        memory = text_decoder.read(image_features)
    return strategy(
        lambda token_ids, state: text_decoder.step(token_ids, state, memory),
        text_decoder.start(memory, strategy.rows_per_picture, length),
        batch_size=tf.shape(tf.nest.flatten(image_features)[0])[0],
        max_length=length,
    )


class TextWriter:
    """Writes texts for batches of pictures, each search compiled once.

    Args:
        encode: function of images [B,H,W,3], or frames [B,F,H,W,3] -> what words look at [B,N,C].
        text_decoder: a ``TextDecoder``.
        tokenizer: the ``Tokenizer`` it was trained with.
    """

    def __init__(self, encode, text_decoder, tokenizer):
        self._text_decoder = text_decoder
        self._tokenizer = tokenizer
        self._searches = {}
        self._encode = tf.function(encode, reduce_retracing=True, autograph=False)

    def __call__(self, images, strategy, batch_size):
        """Writes n texts a picture, best first.

        Args:
            images: what the encoder takes, such as [b,H,W,3] or [b,F,H,W,3] float32, b at most
                ``batch_size``.
            strategy: a search of ``keras_vlm.decoding``.
            batch_size: pictures of a full batch.

        Returns:
            ``(texts [b,n] bytes, scores [b,n] float32)``, NumPy arrays.
        """
        # Compiling takes seconds and pays for itself over many pictures of one shape; the last,
        # smaller batch of a long list is padded to that shape.
        count = len(tf.nest.flatten(images)[0])
        compiled = (strategy, True) in self._searches or count == batch_size
        if compiled:
            missing = batch_size - count
            images = tf.nest.map_structure(
                lambda each: tf.pad(each, [[0, missing], *[[0, 0]] * (each.shape.rank - 1)]),
                images,
            )
        found = self._search(strategy, compiled)(self._encode(images))
        texts = self._tokenizer.detokenize(found.token_ids)
        return texts.numpy()[:count], found.scores.numpy()[:count]

    def _search(self, strategy, compiled):
        if (strategy, compiled) not in self._searches:
            self._searches[strategy, compiled] = tf.function(
                lambda features: generate(
                    self._text_decoder, self._tokenizer, features, strategy
                ),
                jit_compile=compiled,
                reduce_retracing=True,
                autograph=False,
            )
        return self._searches[strategy, compiled]


class CaptionMixin:
    """``caption`` for what has ``image_size``, ``resize``, ``region_shapes`` and ``_writer``."""

    def caption(
        self,
        images,
        *,
        beam_size=3,
        strategy=None,
        batch_size=32,
        with_scores=False,
        verbose=0,
    ):
        """Writes captions.

        Args:
            images: one picture or many: paths, encoded bytes, arrays [H,W,3] in 0..255, dicts of
                an ``image`` and its ``boxes`` or ``masks``, a data split or a ``tf.data.Dataset``.
            beam_size: width of the beam search; 1 is greedy.
            strategy: another search of ``keras_vlm.decoding``, instead of ``beam_size``.
            batch_size: pictures decoded at once.
            with_scores: whether to return every text with its score.
            verbose: 1 for a progress bar, 0 for none.

        Returns:
            A list of strings, one a picture, best first; with ``with_scores`` a list of lists of
            ``(text, score)``, as many a picture as the strategy returns. A picture that cannot be
            read has the caption ``""`` and the score -inf.

        Raises:
            FileNotFoundError: a path does not exist.
            TypeError: ``images`` is none of the above.
        """
        if strategy is None:
            strategy = BeamSearch(beam_size)
        results = []
        total = self._count(images)
        progress = keras.utils.Progbar(total, unit_name="picture") if verbose else None
        for batch, valid in self._read_pictures(images, batch_size):
            texts, scores = self._writer(batch, strategy, batch_size)
            results.extend(
                [(text.decode("utf-8"), float(score)) for text, score in zip(*row, strict=True)]
                if readable
                else [("", float("-inf"))]
                for *row, readable in zip(texts, scores, valid.numpy(), strict=True)
            )
            if progress:
                progress.update(len(results))
        return results if with_scores else [found[0][0] for found in results]

    def _count(self, images):
        return count_pictures(images)

    def _read_pictures(self, images, batch_size):
        return read_images(
            images,
            self.image_size,
            resize=self.resize,
            batch_size=batch_size,
            region_shapes=self.region_shapes,
        )
