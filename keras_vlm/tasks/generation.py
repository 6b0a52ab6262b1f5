"""Free text from image features: a text decoder meets a search.

Shared by every task that writes. Refuses to know what the text is for. Dimension letters: B batch,
N picture tokens, C their width, n texts a picture, T text positions.
"""

import tensorflow as tf


def generate(text_decoder, tokenizer, image_features, strategy):
    """Writes texts for a batch of pictures, in TensorFlow ops.

    Args:
        text_decoder: a ``TextDecoder``.
        tokenizer: the ``Tokenizer`` it was trained with.
        image_features: [B,N,C] float.
        strategy: a search of ``keras_vlm.decoding``, such as ``BeamSearch(3)``.

    Returns:
        ``Decoded`` with token_ids [B,n,T] int32, lengths [B,n] int32 and scores [B,n] float32,
        best first.
    """
    length = tokenizer.max_length - 1
    memory = text_decoder.read(image_features)
    return strategy(
        lambda token_ids, state: text_decoder.step(token_ids, state, memory),
        text_decoder.start(memory, strategy.rows_per_picture, length),
        batch_size=tf.shape(image_features)[0],
        max_length=length,
    )
