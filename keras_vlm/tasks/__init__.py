"""One file a task: the builder and the model class it returns.

The contract: a builder returns a compiled functional ``keras.Model`` with the named functional
sub-models ``encoder`` and ``decoder``; the K captions of a picture share one encoder pass; the
model carries its tokenizer; ``model.save`` then ``keras_vlm.load`` gives the same words in a fresh
process.
"""
