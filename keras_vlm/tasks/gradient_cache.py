"""Gradient caching: the step of a large contrastive batch in the memory of a small one.

The loss needs the vectors of the whole batch, but not the activations behind them. So the towers
run twice, a chunk at a time: first without a tape, for the vectors; then, with the loss's gradient
at the vectors in hand, with a tape a chunk. Dropout draws the same in both passes.

Refuses to know the loss and the towers' parts. Dimension letters: B batch, K captions a picture, E
width of the space.

Source: Gao et al. 2021, https://arxiv.org/abs/2101.06983.
"""

import tensorflow as tf


def cached_gradients(model, inputs, real, chunk):
    """Computes the loss of a batch and its gradients, a chunk at a time.

    Args:
        model: a compiled model with ``vectors(inputs, training)``, ``pair_scores`` and
            ``compute_loss``.
        inputs: dict of the model's inputs, each led by B.
        real: [B,K] bool, True where there is a caption.
        chunk: pictures that go through the towers at once.

    Returns:
        The loss, a scalar, and a gradient for each of the model's trainable weights, scaled as the
        optimizer wants it.
    """
    weights = model.trainable_weights
    values = [weight.value for weight in weights]
    states = model._random_states()
    count = -(-tf.shape(real)[0] // chunk)

    def part(tree, i):
        return tf.nest.map_structure(lambda leaf: leaf[i * chunk : (i + 1) * chunk], tree)

    def look(i, images, texts, drawn):
        drawn = [array.write(i, state.value) for array, state in zip(drawn, states, strict=True)]
        image, text = model.vectors(part(inputs, i), training=True)
        return i + 1, images.write(i, image), texts.write(i, text), drawn

    def array(dtype):
        # Chunks differ in size: the last one may be smaller.
        return tf.TensorArray(dtype, count, infer_shape=False)

    first = (0, array(tf.float32), array(tf.float32), [array(s.value.dtype) for s in states])
    # One at a time: several chunks in flight would be the memory that this is to save.
    _, images, texts, drawn = tf.while_loop(
        lambda i, *_: i < count, look, first, parallel_iterations=1
    )
    captions, width = real.shape[1], model.image_tower.dim
    images = tf.ensure_shape(images.concat(), (None, width))
    texts = tf.ensure_shape(texts.concat(), (None, captions, width))

    with tf.GradientTape() as tape:
        tape.watch([images, texts])
        loss = model.compute_loss(inputs, real, model.pair_scores(images, texts), training=True)
        scaled = model.optimizer.scale_loss(loss)
    # Only the scores' own weights lie between the vectors and the loss.
    upstream_images, upstream_texts, *gradients = tape.gradient(scaled, [images, texts, *values])
    gradients = [
        tf.zeros_like(value) if gradient is None else gradient
        for gradient, value in zip(gradients, values, strict=True)
    ]

    def learn(i, gradients):
        for state, array in zip(states, drawn, strict=True):
            state.assign(tf.ensure_shape(array.read(i), state.shape))
        with tf.GradientTape() as tape:
            image, text = model.vectors(part(inputs, i), training=True)
            surrogate = tf.reduce_sum(image * part(upstream_images, i))
            surrogate += tf.reduce_sum(text * part(upstream_texts, i))
        more = tape.gradient(surrogate, values)
        return i + 1, [
            total if gradient is None else total + tf.convert_to_tensor(gradient)
            for total, gradient in zip(gradients, more, strict=True)
        ]

    _, gradients = tf.while_loop(
        lambda i, _: i < count, learn, (0, gradients), parallel_iterations=1
    )
    return loss, gradients
