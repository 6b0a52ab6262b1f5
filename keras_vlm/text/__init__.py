"""Words: cleaning, tokenization in the graph, and the text layers.

The tokenizer's contract: text [B] string <-> token_ids [B,T] int32, both ways in TensorFlow ops, so
that one object serves tf.data and the SavedModel. Ids: 0 pad, 1 unknown, 2 start, 3 end.

A decoder's contract (all shapes with R = B*W rows, W beams a picture):

- ``decoder(image_features [B,N,C], token_ids [B,K,T]) -> logits [B,K,T,V]``, teacher forced;
- ``decoder.read(image_features) -> memory``, once a picture;
- ``decoder.start(memory, rows_per_picture, max_length) -> state``, every leaf with leading R;
- ``decoder.step(token_ids [R], state, memory) -> (log_probs [R,V], state)``.

An encoder's contract: ``encoder(token_ids [R,T]) -> words [R,T,D]``, each word as seen from its
whole sentence.

Refuses to know pictures beyond their features.
"""

from keras_vlm.text.encoders import TEXT_ENCODERS as TEXT_ENCODERS
from keras_vlm.text.encoders import BagOfWords as BagOfWords
from keras_vlm.text.encoders import ConvolutionEncoder as ConvolutionEncoder
from keras_vlm.text.encoders import GRUEncoder as GRUEncoder
from keras_vlm.text.encoders import LSTMEncoder as LSTMEncoder
from keras_vlm.text.encoders import ParallelEncoders as ParallelEncoders
from keras_vlm.text.encoders import TransformerEncoder as TransformerEncoder
from keras_vlm.text.lstm import GRUDecoder as GRUDecoder
from keras_vlm.text.lstm import LSTMDecoder as LSTMDecoder
from keras_vlm.text.tokenizer import Tokenizer as Tokenizer
from keras_vlm.text.transformer import TransformerDecoder as TransformerDecoder

TEXT_DECODERS = {"lstm": LSTMDecoder, "gru": GRUDecoder, "transformer": TransformerDecoder}
