"""How words look at a picture: one file a way, all under one contract.

``fusion(query [B,T,D], memory [B,N,C], memory_mask [B,N]) -> context [B,T,C], weights [B,T,N]``.
Every way returns weights, so that every task can be explained.

The work on the picture alone is apart, for it is done once while the words come one by one:
``fusion.read(memory)`` returns a nest of tensors, and
``fusion.attend(query, read_memory, memory_mask)`` does the rest. To ask all pictures the same, the
query may have one row alone, [1,T,D]: its own part of the work is then done once, too.

Whole questions look by ``QUESTION_FUSIONS``, whose contract is in ``question.py``: any of the ways
above, asked by the question's vector, or layers of attention of all words and picture tokens.

Refuses to know which task it serves. Dimension letters: B batch, N picture tokens, C their width,
T text positions, D model width, H heads.
"""

from keras_vlm.fusion.adaptive import AdaptiveFusion as AdaptiveFusion
from keras_vlm.fusion.additive import AdditiveFusion as AdditiveFusion
from keras_vlm.fusion.attention_on_attention import AttentionOnAttention as AttentionOnAttention
from keras_vlm.fusion.base import Fusion as Fusion
from keras_vlm.fusion.co_attention import CoAttention as CoAttention
from keras_vlm.fusion.co_attention import CrossAttention as CrossAttention
from keras_vlm.fusion.concat import ConcatFusion as ConcatFusion
from keras_vlm.fusion.dot_product import DotProductFusion as DotProductFusion
from keras_vlm.fusion.hadamard import HadamardFusion as HadamardFusion
from keras_vlm.fusion.multi_head import MultiHeadFusion as MultiHeadFusion
from keras_vlm.fusion.question import PooledQuestion as PooledQuestion
from keras_vlm.fusion.question import QuestionFusion as QuestionFusion
from keras_vlm.fusion.stacked_attention import StackedAttention as StackedAttention

FUSIONS = {
    "attention": MultiHeadFusion,
    "multi_head": MultiHeadFusion,
    "adaptive": AdaptiveFusion,
    "attention_on_attention": AttentionOnAttention,
    "additive": AdditiveFusion,
    "dot_product": DotProductFusion,
    "concat": ConcatFusion,
}


def _pooled(fusion_class):
    return lambda dtype=None, **options: PooledQuestion(
        fusion_class(dtype=dtype), dtype=dtype, **options
    )


# The last four are made for questions; stacked_attention and hadamard keep the contract above.
QUESTION_FUSIONS = {
    "concat": _pooled(ConcatFusion),
    "attention": _pooled(MultiHeadFusion),
    "additive": _pooled(AdditiveFusion),
    "dot_product": _pooled(DotProductFusion),
    "stacked_attention": _pooled(StackedAttention),
    "hadamard": _pooled(HadamardFusion),
    "co_attention": CoAttention,
    "cross_attention": CrossAttention,
}
