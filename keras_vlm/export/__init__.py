"""One SavedModel does the whole job, in TensorFlow ops only, with no Python code of ours.

The contract: ``serving_default`` maps ``image_bytes`` [B] string to ``caption`` [B] string and
``score`` [B] float32 (of a retriever, to ``embedding`` [B,E] float32; with ``question`` [B] string,
to ``answer`` [B] and ``score`` [B]), and holds no XLA, which servers disable. Served words equal
the Python words.
"""
