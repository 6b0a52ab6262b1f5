"""Cross-entropy by the words that a captioner is fed, and by where it has looked.

Plain cross-entropy feeds a person's words and looks at nothing but the next one. Here some of the
words that are fed are the model's own, as they will be when it writes alone; and a caption that
leaves parts of its picture unseen costs more. Refuses to know files.

Dimension letters: B batch, K captions a picture, R = B*K captions, T text positions, M real words,
N picture tokens, C their width, V vocabulary.
"""

import tensorflow as tf

from keras_vlm.core.checks import check_number
from keras_vlm.decoding.constraints import lowered
from keras_vlm.text.decoder import fed_words, real_tokens
from keras_vlm.text.tokenizer import END_ID, PAD_ID, START_ID, UNKNOWN_ID


class TeacherForcing:
    """What a captioner minimises: its loss, with scheduled sampling or with regular attention.

    With scheduled sampling a step has two passes. The first, without gradient and dropout, reads
    a person's words and draws from what the model would say after each of them. Then each word
    that is fed is replaced, by chance, by the one that was drawn for its place, and the second pass
    learns: the next word is a person's all the same.

    Regular attention adds to the loss, which is a mean over words, lambda times the mean over
    captions of ``(1/N) sum_i (1 - sum_t a_ti)^2``, where a_ti is the weight that the fusion (in a
    Transformer, that of the last layer) has for token i when the t-th word is written. Padding is
    neither a word nor a token; a sentinel's share (``AdaptiveFusion``) is spread over the tokens.

    Args:
        scheduled_sampling: probability with which a word that is fed is the model's own.
        rise_steps: steps over which that probability rises from 0 in a straight line; 0 has it from
            the first step on.
        attention_regularization: lambda.
        seed: what is drawn depends on it and on the optimizer's step count alone.

    Attributes:
        reports: the name of what it reports, as ``Captioner.fit`` wants it.

    Raises:
        ValueError: an option is out of range.

    Example:
        ``captioner.fit(captioner.batches(data["train"], 32),
        objective=TeacherForcing(scheduled_sampling=0.25, rise_steps=2000))``

    Source:
        Bengio et al. 2015, https://arxiv.org/abs/1506.03099, for scheduled sampling, with its
        linear schedule; the two passes are those of Mihaylova and Martins 2019,
        https://arxiv.org/abs/1906.07651, here with words drawn from the softmax, never a token that
        is no word. Xu et al. 2015, https://arxiv.org/abs/1502.03044, equation 14, for the
        attention; they sum over words and tokens where means are taken here, so that their lambda
        times N, by the words of a caption, is ours.
    """

    reports = "loss"

    def __init__(
        self, *, scheduled_sampling=0.0, rise_steps=0, attention_regularization=0.0, seed=0
    ):
        where = "TeacherForcing"
        self.scheduled_sampling = check_number(
            where, "scheduled_sampling", scheduled_sampling, minimum=0, maximum=1
        )
        self.rise_steps = check_number(where, "rise_steps", rise_steps, minimum=0, integer=True)
        self.attention_regularization = check_number(
            where, "attention_regularization", attention_regularization, minimum=0
        )
        self.seed = check_number(where, "seed", seed, minimum=0, integer=True)

    def __call__(self, captioner, features, targets):
        """Computes the loss of a batch.

        Args:
            captioner: the ``Captioner`` that learns.
            features: image_features [B,N,C]; gradients flow back into them.
            targets: [B,K,T] int32, the references.

        Returns:
            The loss twice: what is followed, and what is reported.
        """
        decoder = captioner.text_decoder
        real = tf.not_equal(targets, PAD_ID)
        fed = fed_words(targets)
        if self.scheduled_sampling:
            step = tf.cast(tf.convert_to_tensor(captioner.optimizer.iterations), tf.int32)
            fed = self.mix(decoder, features, fed, real, step)
        logits, weights = decoder.attend_real(features, fed, real, training=True)
        loss = captioner.compute_loss(None, tf.boolean_mask(targets, real), logits, training=True)
        if self.attention_regularization:
            tokens = real_tokens(features) if decoder.tokens_vary else None
            loss += self.attention_regularization * uneven_attention(weights, real, tokens)
        return loss, loss

    def mix(self, decoder, features, fed, real, step):
        """Returns the words to feed [B,K,T], some of them the model's own.

        Args:
            decoder: the ``TextDecoder``.
            features: image_features [B,N,C].
            fed: [B,K,T] int32, a person's words after the start.
            real: [B,K,T] bool, the positions that have a word to say.
            step: int32 scalar, the optimizer's step count.
        """
        logits = decoder(tf.stop_gradient(features), fed, real_words=real, training=False)
        logits = tf.cast(logits, tf.float32)
        # A caption that goes on has not ended.
        logits += lowered(logits.shape[-1], (PAD_ID, UNKNOWN_ID, START_ID, END_ID))
        seeds = tf.random.split(tf.stack([self.seed, step]), 2)
        drawn = tf.random.stateless_categorical(logits, 1, seeds[0], dtype=tf.int32)[:, 0]
        said = tf.scatter_nd(tf.where(real), drawn, tf.shape(real, out_type=tf.int64))
        # What was said at one position is fed at the next.
        own = tf.concat([fed[..., :1], said[..., :-1]], axis=-1)
        chosen = tf.random.stateless_uniform(tf.shape(fed), seeds[1]) < self.probability(step)
        return tf.where(chosen & real, own, fed)

    def probability(self, step):
        """Returns the probability of the model's own words at a step, a float32 scalar."""
        if not self.rise_steps:
            return tf.constant(self.scheduled_sampling, tf.float32)
        risen = tf.minimum(tf.cast(step, tf.float32) / self.rise_steps, 1.0)
        return self.scheduled_sampling * risen


def uneven_attention(weights, real, tokens=None):
    """Returns how far captions are from looking at each picture token once, a float32 scalar.

    Args:
        weights: [M,N] float, the fusion's at each real word.
        real: [B,K,T] bool, the M positions of these words.
        tokens: [B,N] bool, True for a real picture token, or None for all.

    Returns:
        The mean over captions of ``(1/N) sum_i (1 - sum_t a_ti)^2``.
    """
    captions = tf.shape(real, out_type=tf.int64)[1]
    places = tf.where(real)
    rows = tf.shape(real)[0] * tf.shape(real)[1]
    looked = tf.math.unsorted_segment_sum(
        tf.cast(weights, tf.float32), places[:, 0] * captions + places[:, 1], rows
    )
    costs = tf.square(1 - looked)
    if tokens is None:
        costs = tf.reduce_mean(costs, axis=-1)
    else:
        there = tf.repeat(tf.cast(tokens, tf.float32), tf.shape(real)[1], axis=0)
        counts = tf.maximum(tf.reduce_sum(there, axis=-1), 1.0)
        costs = tf.reduce_sum(costs * there, axis=-1) / counts
    # A picture with fewer captions than others has rows of padding.
    written = tf.cast(tf.reshape(tf.reduce_any(real, axis=-1), [-1]), tf.float32)
    return tf.reduce_sum(costs * written) / tf.maximum(tf.reduce_sum(written), 1.0)
