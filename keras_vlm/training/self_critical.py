"""Self-critical sequence training: captions the model draws itself, judged by CIDEr-D and BLEU-4.

Cross-entropy teaches the next word after a person's words; here the model learns from whole
sentences of its own, by the score that they will be judged by. A second stage: start from a model
that cross-entropy has taught. Refuses to know files.

Dimension letters: B batch, S samples a picture, K captions a picture, T text positions, M real
words.
"""

import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import check_number
from keras_vlm.decoding import Sampling
from keras_vlm.decoding.constraints import lowered
from keras_vlm.losses import smoothed_cross_entropy
from keras_vlm.metrics.bleu_reward import BleuReward
from keras_vlm.metrics.cider_reward import CiderReward
from keras_vlm.tasks.generation import generate
from keras_vlm.text.decoder import fed_words
from keras_vlm.text.tokenizer import PAD_ID, START_ID, UNKNOWN_ID


class SelfCritical:
    """What a captioner minimises in place of cross-entropy: minus the expected reward.

    The reward is CIDEr-D, from 0 to 10, with the end id as a word: else nothing is said against
    sentences that break off. Each sample's is compared with the mean of the other samples of its
    picture; words of samples that are better become more likely. A learning rate of 5e-5 does well.

    Args:
        examples: the training split, for the document frequencies.
        tokenizer: the captioner's ``Tokenizer``.
        num_samples: samples S a picture.
        cider_weight: what CIDEr-D counts in the reward.
        bleu_weight: what a sample's BLEU-4, from 0 to 1, counts in it; 0 leaves it out.
        cross_entropy_share: share c, from 0 to 1, of the cross-entropy of the references: the loss
            is ``c * cross-entropy + (1 - c) * self-critical``, which keeps sentences fluent.
        seed: what is drawn depends on it and on the optimizer's step count alone.

    Raises:
        ValueError: an option is out of range, or both weights are 0.

    Example:
        ``captioner.compile(keras.optimizers.Adam(5e-5), captioner.loss)``, then
        ``captioner.fit(captioner.batches(data["train"], 32),
        objective=SelfCritical(data["train"], captioner.tokenizer))``.

    Source:
        Rennie et al. 2017, https://arxiv.org/abs/1612.00563; the baseline is the leave-one-out
        mean of Luo 2020, https://arxiv.org/abs/2003.09971; the mixed loss is that of Paulus et al.
        2017, https://arxiv.org/abs/1705.04304.
    """

    def __init__(
        self,
        examples,
        tokenizer,
        *,
        num_samples=5,
        cider_weight=1.0,
        bleu_weight=0.0,
        cross_entropy_share=0.0,
        seed=0,
    ):
        where = "SelfCritical"
        self.num_samples = check_number(
            where, "num_samples", num_samples, minimum=2, integer=True
        )
        self.cider_weight = check_number(where, "cider_weight", cider_weight, minimum=0)
        self.bleu_weight = check_number(where, "bleu_weight", bleu_weight, minimum=0)
        if not cider_weight and not bleu_weight:
            raise ValueError(
                f"{where}: cider_weight must be above 0 without bleu_weight, got {cider_weight!r}."
            )
        self.cross_entropy_share = check_number(
            where, "cross_entropy_share", cross_entropy_share, minimum=0, maximum=1
        )
        self.seed = check_number(where, "seed", seed, minimum=0, integer=True)
        self.tokenizer = tokenizer
        most = max(len(captions) for captions in examples.captions)
        documents = np.zeros((len(examples), most, tokenizer.max_length - 1), np.int32)
        for place, captions in enumerate(examples.captions):
            documents[place, : len(captions)] = tokenizer(captions).numpy()[:, 1:]
        self._cider = CiderReward(documents, tokenizer.vocabulary_size)
        self._bleu = BleuReward(tokenizer.vocabulary_size)

    def __call__(self, captioner, features, targets):
        """Draws samples and judges them.

        Args:
            captioner: the ``Captioner`` that learns.
            features: image_features [B,N,C]; gradients flow back into them.
            targets: [B,K,T] int32, the references.

        Returns:
            ``(surrogate, reward)``: a scalar whose gradient is that of minus the expected reward, a
            word, mixed with that of the cross-entropy; and the mean reward.
        """
        step = tf.cast(tf.convert_to_tensor(captioner.optimizer.iterations), tf.int32)
        decoder = captioner.text_decoder

        # The rest of the step is not compiled: the reward is Python's.
        @tf.function(jit_compile=not captioner.run_eagerly, autograph=False)
        def draw(features, memory, seed):
            sampling = Sampling(self.num_samples, seed=seed)
            return generate(decoder, self.tokenizer, features, sampling, memory).token_ids

        # Once, for drawing and for the gradient, and without dropout, as both must be.
        memory = decoder.read(features, training=False)
        fixed = tf.nest.map_structure(tf.stop_gradient, [features, memory])
        samples = draw(*fixed, tf.stack([self.seed, step]))
        rewards = tf.numpy_function(self.judge, [samples, targets], tf.float32)
        rewards = tf.ensure_shape(rewards, (None, self.num_samples))
        surrogate = self._policy_loss(decoder, memory, samples, rewards)
        share = self.cross_entropy_share
        if share:
            references = _cross_entropy(captioner, features, targets)
            surrogate = (1 - share) * surrogate + share * references
        return surrogate, tf.reduce_mean(rewards)

    def judge(self, samples, references):
        """Returns the rewards [B,S] float32 of samples [B,S,T] with references [B,K,T], arrays."""
        rewards = np.zeros(samples.shape[:2], np.float32)
        if self.cider_weight:
            rewards += np.float32(self.cider_weight) * self._cider(samples, references)
        if self.bleu_weight:
            rewards += np.float32(self.bleu_weight) * self._bleu(samples, references)
        return rewards

    def _policy_loss(self, decoder, memory, samples, rewards):
        """Returns the scalar whose gradient is that of minus the expected reward, a word."""
        others = tf.reduce_sum(rewards, axis=1, keepdims=True) - rewards
        advantages = rewards - others / (self.num_samples - 1)
        real = tf.not_equal(samples, PAD_ID)
        # Without dropout, as they were drawn: the gradient is of the policy that spoke.
        logits, _ = decoder.attend_read(memory, fed_words(samples), real, training=False)
        # And without the tokens that no sample holds: a softmax that has the unknown word lets its
        # share grow unpunished, until the model falls apart.
        logits = tf.cast(logits, tf.float32)
        logits += lowered(logits.shape[-1], (PAD_ID, UNKNOWN_ID, START_ID))
        words = tf.boolean_mask(samples, real)
        losses = smoothed_cross_entropy(logits, words, 0.0)
        worth = tf.boolean_mask(tf.broadcast_to(advantages[..., None], tf.shape(real)), real)
        return tf.reduce_mean(losses * worth)


def _cross_entropy(captioner, features, targets):
    """Returns the captioner's own loss of references [B,K,T], dropout and smoothing on."""
    real = tf.not_equal(targets, PAD_ID)
    logits = captioner.text_decoder(features, fed_words(targets), real_words=real, training=True)
    return captioner.compute_loss(None, tf.boolean_mask(targets, real), logits, training=True)
