"""The keys of an example and of a batch: what every source gives and every model takes.

Refuses to know where an example comes from. A field that a source does not have is absent, never
faked.

Dimension letters: B batch, H height, W width, N picture tokens, C their width, K captions a
picture, Q questions a picture, T text positions, A answers a question, S answers that count, R
regions (boxes or masks), S a mask's side.
"""

import tensorflow as tf

from keras_vlm.vision.regions import MASK_SIDE

# The split that chooses the best epoch. Sources that call it "dev" take this name too.
DEFAULT_VALIDATION_SPLIT = "val"

# Names for the same split; each data set uses one of them.
VALIDATION_SPLITS = ("val", "dev", "validation")

# One example: raw and not yet batched. Boxes are (y0, x0, y1, x1) as shares of height and width.
EXAMPLE_FIELDS = {
    "image_bytes": tf.TensorSpec([], tf.string),  # an encoded picture: JPEG, PNG, GIF, BMP
    "image_id": tf.TensorSpec([], tf.string),  # its name within the data set
    "index": tf.TensorSpec([], tf.int64),  # its place in the split's image_ids
    "captions": tf.TensorSpec([None], tf.string),  # [K], raw text
    "questions": tf.TensorSpec([None], tf.string),  # [Q], all of a picture: it is encoded once
    "answers": tf.TensorSpec([None, None], tf.string),  # [Q,A], "" where an annotator is missing
    "boxes": tf.TensorSpec([None, 4], tf.float32),  # [R,4]
    "labels": tf.TensorSpec([None], tf.string),  # [R], one a box or a mask
    "masks": tf.TensorSpec([None, MASK_SIDE, MASK_SIDE], tf.uint8),  # [R,S,S] of 0 and 1
    "language": tf.TensorSpec([], tf.string),
}
REQUIRED_FIELDS = ("image_bytes", "image_id", "index")

# One batch: a model's inputs by name, and its targets.
BATCH_FIELDS = {
    "images": tf.TensorSpec([None, None, None, 3], tf.float32),  # [B,H,W,3], values 0..255
    "image_features": tf.TensorSpec([None, None, None], tf.float16),  # [B,N,C], of a cache
    "boxes": tf.TensorSpec([None, None, 4], tf.float32),  # [B,R,4], zeros are padding
    "masks": tf.TensorSpec([None, None, MASK_SIDE, MASK_SIDE], tf.uint8),  # [B,R,S,S]
    "token_ids": tf.TensorSpec([None, None, None], tf.int32),  # [B,K,T] or [B,Q,T], 0 is padding
    "answer_ids": tf.TensorSpec([None, None, None], tf.int32),  # [B,Q,L], written answers
    "targets": tf.TensorSpec([None, None, None], tf.int32),  # [B,K,T], token_ids one step ahead
}


def check_example_spec(where, spec):
    """Raises unless a dataset's elements are examples as this file describes them.

    Args:
        where: name of the source, for the message.
        spec: ``dataset.element_spec``.

    Returns:
        ``spec``, unchanged.

    Raises:
        ValueError: a required key is missing, a key is unknown, or one has another type or rank.

    Example:
        >>> fields = {key: EXAMPLE_FIELDS[key] for key in REQUIRED_FIELDS}
        >>> sorted(check_example_spec("mine", fields))
        ['image_bytes', 'image_id', 'index']
    """
    found = ", ".join(repr(key) for key in spec)
    for key in REQUIRED_FIELDS:
        if key not in spec:
            raise ValueError(f"{where}: key {key!r} is missing from the examples (found {found}).")
    for key, value in spec.items():
        if key not in EXAMPLE_FIELDS:
            raise ValueError(
                f"{where}: key {key!r} is unknown. An example may have "
                f"{', '.join(map(repr, EXAMPLE_FIELDS))}."
            )
        if not EXAMPLE_FIELDS[key].is_compatible_with(value):
            raise ValueError(f"{where}: {key} must be {EXAMPLE_FIELDS[key]}, got {value}.")
    return spec
