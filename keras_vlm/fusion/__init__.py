"""How words look at a picture: one file a way, all under one contract.

``fusion(query [B,T,D], memory [B,N,C], memory_mask [B,N]) -> context [B,T,C], weights [B,T,N]``.
Every way returns weights, so that every task can be explained.

The work on the picture alone is apart, for it is done once while the words come one by one:
``fusion.read(memory)`` returns a nest of tensors, and
``fusion.attend(query, read_memory, memory_mask)`` does the rest. To ask all pictures the same, the
query may have one row alone, [1,T,D]: its own part of the work is then done once, too.

Refuses to know which task it serves. Dimension letters: B batch, N picture tokens, C their width,
T text positions, D model width, H heads.
"""

from keras_vlm.fusion.additive import AdditiveFusion as AdditiveFusion
from keras_vlm.fusion.base import Fusion as Fusion
from keras_vlm.fusion.concat import ConcatFusion as ConcatFusion
from keras_vlm.fusion.dot_product import DotProductFusion as DotProductFusion
from keras_vlm.fusion.multi_head import MultiHeadFusion as MultiHeadFusion

FUSIONS = {
    "attention": MultiHeadFusion,
    "multi_head": MultiHeadFusion,
    "additive": AdditiveFusion,
    "dot_product": DotProductFusion,
    "concat": ConcatFusion,
}
