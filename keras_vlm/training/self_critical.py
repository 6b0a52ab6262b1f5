"""Self-critical sequence training: captions the model draws itself, judged by CIDEr-D.

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
from keras_vlm.metrics.cider_reward import CiderReward
from keras_vlm.tasks.generation import generate
from keras_vlm.text.tokenizer import PAD_ID, START_ID, UNKNOWN_ID


class SelfCritical:
    """What a captioner minimises in place of cross-entropy: minus the expected CIDEr-D.

    Each sample's reward is compared with the mean of the other samples of its picture; words of
    samples that are better become more likely. A learning rate of 5e-5 does well.

    Args:
        examples: the training split, for the document frequencies.
        tokenizer: the captioner's ``Tokenizer``.
        num_samples: samples S a picture.
        seed: what is drawn depends on it and on the optimizer's step count alone.

    Raises:
        ValueError: an option is out of range.

    Example:
        ``captioner.compile(keras.optimizers.Adam(5e-5), captioner.loss)``, then
        ``captioner.fit(captioner.batches(data["train"], 32),
        objective=SelfCritical(data["train"], captioner.tokenizer))``.

    Source:
        Rennie et al. 2017, https://arxiv.org/abs/1612.00563; the baseline is the leave-one-out
        mean of Luo 2020, https://arxiv.org/abs/2003.09971.
    """

    def __init__(self, examples, tokenizer, *, num_samples=5, seed=0):
        self.num_samples = check_number(
            "SelfCritical", "num_samples", num_samples, minimum=2, integer=True
        )
        self.seed = check_number("SelfCritical", "seed", seed, minimum=0, integer=True)
        self.tokenizer = tokenizer
        most = max(len(captions) for captions in examples.captions)
        documents = np.zeros((len(examples), most, tokenizer.max_length - 1), np.int32)
        for place, captions in enumerate(examples.captions):
            documents[place, : len(captions)] = tokenizer(captions).numpy()[:, 1:]
        self._reward = CiderReward(documents, tokenizer.vocabulary_size)

    def __call__(self, captioner, features, targets):
        """Draws samples and judges them.

        Args:
            captioner: the ``Captioner`` that learns.
            features: image_features [B,N,C]; gradients flow back into them.
            targets: [B,K,T] int32, the references.

        Returns:
            ``(surrogate, reward)``: a scalar whose gradient is that of minus the expected reward, a
            word, and the mean reward.
        """
        step = tf.cast(tf.convert_to_tensor(captioner.optimizer.iterations), tf.int32)
        sampling = Sampling(self.num_samples, seed=tf.stack([self.seed, step]))
        samples = generate(
            captioner.text_decoder, self.tokenizer, tf.stop_gradient(features), sampling
        ).token_ids
        rewards = tf.numpy_function(self._reward, [samples, targets], tf.float32)
        rewards = tf.ensure_shape(rewards, (None, self.num_samples))
        others = tf.reduce_sum(rewards, axis=1, keepdims=True) - rewards
        advantages = rewards - others / (self.num_samples - 1)

        real = tf.not_equal(samples, PAD_ID)
        fed = tf.concat([tf.fill(tf.shape(samples[..., :1]), START_ID), samples[..., :-1]], axis=-1)
        # Without dropout, as they were drawn: the gradient is of the policy that spoke.
        logits = captioner.text_decoder(features, fed, real_words=real, training=False)
        # And without the tokens that no sample holds: a softmax that has the unknown word lets its
        # share grow unpunished, until the model falls apart.
        logits = tf.cast(logits, tf.float32)
        logits += lowered(logits.shape[-1], (PAD_ID, UNKNOWN_ID, START_ID))
        words = tf.boolean_mask(samples, real)
        losses = smoothed_cross_entropy(logits, words, 0.0)
        worth = tf.boolean_mask(tf.broadcast_to(advantages[..., None], tf.shape(real)), real)
        return tf.reduce_mean(losses * worth), tf.reduce_mean(rewards)
