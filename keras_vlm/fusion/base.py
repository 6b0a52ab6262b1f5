"""The contract that all fusions share.

Refuses to know any particular way of looking. Dimension letters: see the package's docstring.
"""

import keras

from keras_vlm.core.dense import Dense


class Fusion(keras.layers.Layer):
    """Abstract: query [B,T,D], memory [B,N,C] -> context [B,T,C], weights [B,T,N].

    A subclass implements ``build(query_shape, memory_shape)``, ``read`` and ``attend``.
    """

    def call(self, query, memory, memory_mask=None, training=None):
        """Looks at a picture once for each query.

        Args:
            query: [B,T,D] float, what each word asks.
            memory: [B,N,C] float, the picture's tokens.
            memory_mask: [B,N] bool, True for a real token, or None for all.
            training: whether dropout is on.

        Returns:
            ``(context [B,T,C], weights [B,T,N])``; each row of weights sums to 1 over real tokens.
        """
        return self.attend(query, self.read(memory), memory_mask, training=training)

    def compute_output_shape(self, query_shape, memory_shape):
        """Returns the shapes of context and weights."""
        batch, positions = query_shape[0], query_shape[1]
        return (batch, positions, memory_shape[-1]), (batch, positions, memory_shape[1])

    def get_config(self):
        """Returns the constructor's arguments; without this Keras would refuse a dtype policy."""
        return super().get_config()


class KeyFusion(Fusion):
    """Abstract: words and picture tokens meet in a space of ``units``; a Keras layer scores them.

    A subclass implements ``make_attention(units)``, which returns a built
    ``keras.layers.Attention`` or ``AdditiveAttention``.

    Args:
        units: width U of the space in which they meet; None takes the query's.
        **kwargs: ``name``, ``dtype`` of the layer.
    """

    def __init__(self, units=None, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, query_shape, memory_shape):
        """Builds the two projections and the scoring layer."""
        units = self.units or query_shape[-1]
        self.query_dense = Dense(units, name="query", dtype=self.dtype_policy)
        self.key_dense = keras.layers.Dense(
            units, use_bias=False, name="key", dtype=self.dtype_policy
        )
        self.query_dense.build(query_shape)
        self.key_dense.build(memory_shape)
        query_key_shape, key_shape = (*query_shape[:-1], units), (*memory_shape[:-1], units)
        self.attention = self.make_attention([query_key_shape, memory_shape, key_shape])

    def read(self, memory):
        """Returns the keys [B,N,U] beside the memory."""
        return {"keys": self.key_dense(memory), "values": memory}

    def attend(self, query, read_memory, memory_mask=None, training=None):
        """Returns context [B,T,C] and weights [B,T,N]."""
        return self.attention(
            [self.query_dense(query), read_memory["values"], read_memory["keys"]],
            mask=None if memory_mask is None else [None, memory_mask],
            return_attention_scores=True,
            training=training,
        )

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "units": self.units}
