"""Leaving padding out: real words of all captions in one row after another.

Captions are about 40 % padding. Dense layers, the recurrence and the vocabulary need not see it:
they run on the M real words; only attention, which is cheap, runs on whole captions. Not for XLA,
since M varies. Refuses to know what the words are.

Dimension letters: B batch, K captions a picture, R = B*K rows, T text positions, M real words,
Q most real words of a picture, D width.
"""

from keras import ops


class Packing:
    """Moves hidden states between ``[M,D]``, ``[R,T,D]`` and ``[B,Q,D]``.

    Args:
        real_words: [B,K,T] bool; in each row the True ones come first.
    """

    def __init__(self, real_words):
        batch, captions, length = ops.shape(real_words)
        flat = ops.reshape(real_words, (-1,))
        counts = ops.cast(ops.reshape(real_words, (batch, captions * length)), "int32")
        self.length = length
        self.places = ops.nonzero(flat)[0]
        self.words = ops.shape(self.places)[0]
        # Where a padding position looks is of no account, but it must exist.
        order = ops.cumsum(ops.cast(flat, "int32")) - 1
        self._order = ops.maximum(order, 0)
        self.row_lengths = ops.sum(
            ops.cast(ops.reshape(real_words, (-1, length)), "int32"), axis=1
        )
        per_picture = ops.sum(counts, axis=1)
        first = ops.cumsum(per_picture) - per_picture
        self._most = ops.max(per_picture)
        slots = first[:, None] + ops.arange(self._most)[None, :]
        self._of_picture = ops.reshape(ops.minimum(slots, self.words - 1), (-1,))
        taken = ops.arange(self._most)[None, :] < per_picture[:, None]
        self._taken = ops.cast(ops.reshape(taken, (-1, 1)), "float32")
        self._slots = ops.nonzero(ops.reshape(taken, (-1,)))[0]

    def pack(self, hidden):
        """Turns [R,T,...] into [M,...] by leaving padding out."""
        return ops.take(ops.reshape(hidden, (-1, *hidden.shape[2:])), self.places, axis=0)

    def unpack(self, words):
        """Turns words [M,D] into [R,T,D]; padding is filled with other words' values."""
        spread = move(words, self._order, self.places)
        return ops.reshape(spread, (-1, self.length, words.shape[-1]))

    def to_pictures(self, words):
        """Turns words [M,D] into [B,Q,D]; what is too much is filled with other words' values."""
        spread = move(words, self._of_picture, self._slots)
        return ops.reshape(spread, (-1, self._most, words.shape[-1]))

    def from_pictures(self, queries):
        """Turns [B,Q,D] back into words [M,D]."""
        # The weights of where words looked may be of any number of tokens.
        flat = ops.reshape(queries, (-1, ops.shape(queries)[-1]))
        return move(flat, self._slots, self._of_picture, self._taken)


def move(values, source, inverse, inverse_real=None):
    """Gathers rows; its gradient gathers them back, where a plain gather's would scatter.

    Args:
        values: [X,D] float.
        source: [Y] int, the row of ``values`` that each row of the result takes.
        inverse: [X] int, the row of the result in which each row of ``values`` went.
        inverse_real: [X,1] float, 0 for rows of ``values`` that no result took, or None.

    Returns:
        [Y,D].
    """

    @ops.custom_gradient
    def gather(values):
        def gradient(upstream):
            back = ops.take(upstream, inverse, axis=0)
            return back if inverse_real is None else back * ops.cast(inverse_real, back.dtype)

        return ops.take(values, source, axis=0), gradient

    return gather(values)


class NoPacking:
    """The same moves where every position counts: static shapes, for XLA and for single steps.

    Args:
        captions: K.
        length: T.
    """

    def __init__(self, captions, length):
        self.captions = captions
        self.length = length
        self.row_lengths = None

    def pack(self, hidden):
        """Turns [R,T,...] into [R*T,...]."""
        return ops.reshape(hidden, (-1, *hidden.shape[2:]))

    def unpack(self, words):
        """Turns [R*T,D] into [R,T,D]."""
        return ops.reshape(words, (-1, self.length, words.shape[-1]))

    def to_pictures(self, words):
        """Turns [R*T,D] into [B,K*T,D]."""
        return ops.reshape(words, (-1, self.captions * self.length, words.shape[-1]))

    def from_pictures(self, queries):
        """Turns [B,K*T,D] into [R*T,D]."""
        return ops.reshape(queries, (-1, queries.shape[-1]))
