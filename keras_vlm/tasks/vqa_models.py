"""The models that answer questions: one chooses from a vocabulary, one writes.

Refuses to know files, scores and servers. Dimension letters: B batch, H height, W width, N picture
tokens, C their width, Q questions a picture, T text positions, A answers, L answer positions, V
answer words, k candidates.
"""

import keras
import tensorflow as tf

from keras_vlm.core.checks import check_choice
from keras_vlm.core.serialization import serialize_unbuilt
from keras_vlm.data.image_inputs import read_images
from keras_vlm.data.question_batches import (
    CachedPictures,
    DecodedPictures,
    QuestionTexts,
    question_batches,
)
from keras_vlm.data.questions import even_answers, even_types
from keras_vlm.decoding import BeamSearch, MinimumLength
from keras_vlm.decoding.constraints import NO_UNKNOWN
from keras_vlm.tasks.asking import AnswerMixin
from keras_vlm.tasks.base import PictureTextModel, encode, picture_inputs
from keras_vlm.tasks.question_reader import AnswerChooser
from keras_vlm.text.answers import comparable, most_frequent
from keras_vlm.text.tokenizer import PAD_ID

# What is done where some answers, or types of question, are much rarer than others.
BALANCES = ("none", "sampling", "types", "loss")
WEIGHINGS = {"sampling": even_answers, "types": even_types}
BEAM = 5


class VQAModel(AnswerMixin, PictureTextModel):
    """Abstract: a functional model ``{"images": [B,H,W,3], "token_ids": [B,Q,T], ...} -> logits``.

    It also takes ``image_features`` [B,N,C] in place of ``images``: what a feature cache gives. A
    subclass implements ``encode_answers``, ``finish_answers`` and ``find_answers``.

    Attributes:
        encoder: functional model, images [B,H,W,3] float 0..255 -> image_features [B,N,C].
        decoder: functional model, image_features, token_ids and what else there is -> logits.
        reader: the ``QuestionReader``.
        tokenizer: the ``Tokenizer`` of questions.
    """

    def _set_parts(self, encoder, decoder, temporal, reader, tokenizer):
        self.encoder = encoder
        self.decoder = decoder
        self.temporal = temporal
        self.reader = reader
        self.tokenizer = tokenizer
        taken = tf.nest.map_structure(
            lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), encoder.input
        )
        self._encode = tf.function(
            lambda images: encoder(images, training=False),
            input_signature=[taken],
            autograph=False,
        )
        self._find = {}

    def read_features(self, inputs, training=None):
        """Answers questions about image_features."""
        return self.decoder(inputs, training=training)

    def fit(self, x=None, y=None, *, shuffle=False, **kwargs):
        """As ``keras.Model.fit``; ``batches`` has shuffled already."""
        return super().fit(x, y, shuffle=shuffle, **kwargs)

    def batches(
        self, examples, batch_size=32, *, questions_per_image=10, balance="none", **options
    ):
        """Makes batches of a data split for ``fit``.

        Args:
            examples: a data split with questions.
            batch_size: pictures a batch; each comes with its questions, and is encoded once.
            questions_per_image: Q; of more a picture draws some anew each epoch, fewer leave rows
                of padding.
            balance: ``"sampling"`` draws pictures and questions so that each answer comes as often
                as any other, ``"types"`` each type of question; ``"none"`` takes every picture once
                an epoch. (``"loss"`` is a matter of ``AnswerVocabulary(balanced=True)``, and the
                same as ``"none"`` here.)
            **options: ``shuffle``, ``augment``, ``cache`` and ``seed``, as for
                ``PictureTextModel.batches``. In a mirrored picture's questions and answers left and
                right change places.

        Returns:
            A ``tf.data.Dataset`` of ``(inputs, targets)``.

        Raises:
            ValueError: an option is unknown, or the split has no questions, or none with a type
                where types are to be even.
        """
        check_choice("batches", "balance", balance, BALANCES)
        texts = QuestionTexts.of(
            examples, self.tokenizer, self.encode_answers, WEIGHINGS.get(balance)
        )
        epoch_seed, augmentation, caches = self.reading(examples, **options)
        return question_batches(
            self.readable_pictures(examples, augmentation, caches),
            texts,
            batch_size,
            finish=self.finish_answers,
            questions_per_image=questions_per_image,
            epoch_seed=epoch_seed,
        )

    def readable_pictures(self, examples, augmentation, caches):
        """Returns what ``question_batches`` reads pictures from."""
        if caches:
            return CachedPictures(examples, caches)
        return DecodedPictures(
            examples,
            self.image_size,
            self.resize,
            augmentation,
            region_shapes=self.region_shapes,
        )

    def encode_answers(self, references):
        """Turns a list of M tuples of answers into a dict of arrays [M,...]."""
        raise NotImplementedError

    def finish_answers(self, answers, real):
        """Turns a batch of these arrays, under real [B,Q] bool, into (more inputs, targets)."""
        raise NotImplementedError

    def find_answers(self, image_features, token_ids, top_k):
        """Returns texts [B,Q,k] and probabilities [B,Q,k], most probable first."""
        raise NotImplementedError

    def answer_features(self, image_features, questions, top_k=1):
        """Answers questions, in TensorFlow ops alone.

        Args:
            image_features: [B,N,C] float.
            questions: [B,Q] string.
            top_k: k; a number.

        Returns:
            dict: ``answers`` [B,Q,k] string and ``scores`` [B,Q,k] float32, ``""`` and 0 where a
            question is empty; ``known`` [B,Q] float32, the share of its words that are known, and
            ``unknown`` [B,Q] string, the others.
        """
        shape = tf.shape(questions)
        flat = tf.reshape(questions, [-1])
        known, unknown = self.tokenizer.find_unknown(flat)
        token_ids = self.tokenizer(flat)[:, :-1]
        length = token_ids.shape[-1]
        token_ids = tf.reshape(token_ids, [shape[0], shape[1], length])
        texts, scores = self.find_answers(image_features, token_ids, top_k)
        known, unknown = tf.reshape(known, shape), tf.reshape(unknown, shape)
        asked = ((known > 0) | (unknown != ""))[..., None]
        return {
            "answers": tf.where(asked, texts, ""),
            "scores": tf.where(asked, scores, 0.0),
            "known": known,
            "unknown": unknown,
        }

    def unknown_words(self, text):
        """Lists the words of a question that the model has never learned."""
        return self.tokenizer.unknown_words(text)

    def _read_pictures(self, images, batch_size):
        return read_images(
            images,
            self.image_size,
            resize=self.resize,
            batch_size=batch_size,
            region_shapes=self.region_shapes,
        )

    def _answer_batch(self, batch, questions, top_k):
        images, valid = batch
        if top_k not in self._find:
            self._find[top_k] = tf.function(
                lambda features, questions: self.answer_features(features, questions, top_k),
                input_signature=[
                    tf.TensorSpec(self.encoder.output_shape, self.encoder.output.dtype),
                    tf.TensorSpec([None, None], tf.string),
                ],
                autograph=False,
            )
        found = self._find[top_k](self._encode(images), questions)
        names = ("answers", "scores", "known", "unknown")
        return (*(found[name].numpy() for name in names), valid.numpy())

    def _temporal_config(self):
        return {} if self.temporal is None else {"temporal": serialize_unbuilt(self.temporal)}

    @classmethod
    def from_config(cls, config):
        """Makes the model that ``get_config`` described."""
        made = {
            part: value if part == "name" else keras.saving.deserialize_keras_object(value)
            for part, value in config.items()
        }
        return cls(**made)


def _inputs(model, encoder, tokenizer, temporal):
    """Returns the inputs that both models have, and what questions look at.

    These are a dict of pictures, then token_ids, image_features and memory.
    """
    features = keras.Input(encoder.output_shape[1:], name=model.features_key)
    return (
        picture_inputs(encoder, model.picture_key),
        keras.Input((None, tokenizer.max_length - 1), dtype="int32", name="token_ids"),
        features,
        features if temporal is None else temporal(features),
    )


@keras.saving.register_keras_serializable("keras_vlm")
class ChoosingVQAModel(VQAModel):
    """Chooses from a vocabulary of answers: logits [B,Q,A]. Make one with ``build_vqa``.

    Args:
        encoder: a backbone from images to features.
        reader: a ``QuestionReader``; its vocabulary size becomes the tokenizer's.
        tokenizer: a ``Tokenizer`` of questions.
        answers: an ``AnswerVocabulary``.
        chooser: an ``AnswerChooser``, or None for the usual one.
        temporal: of a model of clips, the ``Temporal`` layer; None for pictures.
        name: name of the model.
    """

    def __init__(
        self, encoder, reader, tokenizer, answers, *, chooser=None, temporal=None, name="vqa"
    ):
        reader.text_encoder.vocabulary_size = tokenizer.vocabulary_size
        reader.tokens_vary = bool(getattr(encoder, "region_shapes", ()))
        chooser = chooser or AnswerChooser(len(answers), dtype=reader.dtype_policy)
        pictures, token_ids, features, memory = _inputs(self, encoder, tokenizer, temporal)
        decoder = keras.Model(
            {self.features_key: features, "token_ids": token_ids},
            chooser(reader(memory, token_ids)[0]),
            name="decoder",
        )
        encoded = encode(encoder, pictures, key=self.picture_key)
        outputs = decoder({self.features_key: encoded, "token_ids": token_ids})
        super().__init__({**pictures, "token_ids": token_ids}, outputs, name=name)
        self._set_parts(encoder, decoder, temporal, reader, tokenizer)
        self.chooser = chooser
        self.answers = answers
        with tf.init_scope():
            self._texts = tf.constant(answers.answers)

    def encode_answers(self, references):
        """Returns ids and scores of the vocabulary's answers."""
        return self.answers.encode(references)

    def finish_answers(self, answers, real):
        """Returns no more inputs, and the annotators' scores [B,Q,A]; -1 where nothing is asked."""
        chosen = tf.one_hot(answers["answer_ids"], len(self.answers))
        scores = tf.reduce_sum(chosen * answers["answer_scores"][..., None], axis=-2)
        return {}, tf.where(real[..., None], scores, -1.0)

    def find_answers(self, image_features, token_ids, top_k):
        """Returns the k most probable answers of the vocabulary."""
        inputs = {self.features_key: image_features, "token_ids": token_ids}
        logits = self.decoder(inputs, training=False)
        softmax = self.answers.activation == "softmax"
        probabilities = tf.nn.softmax(logits) if softmax else tf.sigmoid(logits)
        scores, ids = tf.math.top_k(probabilities, min(top_k, len(self.answers)))
        return tf.gather(self._texts, ids), scores

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        serialize = keras.saving.serialize_keras_object
        return {
            "encoder": serialize(self.encoder),
            "reader": serialize_unbuilt(self.reader),
            "tokenizer": serialize(self.tokenizer),
            "answers": serialize(self.answers),
            "chooser": serialize_unbuilt(self.chooser),
            **self._temporal_config(),
            "name": self.name,
        }


@keras.saving.register_keras_serializable("keras_vlm")
class WritingVQAModel(VQAModel):
    """Writes answers word by word: logits [B,Q,L,V]. Make one with ``build_vqa``.

    Args:
        encoder: a backbone from images to features.
        reader: a ``QuestionReader``; its vocabulary size becomes the tokenizer's.
        tokenizer: a ``Tokenizer`` of questions.
        answers: a ``Tokenizer`` of answers.
        writer: an ``AnswerWriter``; its vocabulary size becomes that of ``answers``.
        temporal: of a model of clips, the ``Temporal`` layer; None for pictures.
        name: name of the model.
    """

    def __init__(self, encoder, reader, tokenizer, answers, writer, *, temporal=None, name="vqa"):
        reader.text_encoder.vocabulary_size = tokenizer.vocabulary_size
        reader.tokens_vary = bool(getattr(encoder, "region_shapes", ()))
        writer.text_decoder.vocabulary_size = answers.vocabulary_size
        writer.text_decoder.tokens_vary = reader.tokens_vary
        pictures, token_ids, features, memory = _inputs(self, encoder, tokenizer, temporal)
        answer_ids = keras.Input((None, answers.max_length - 1), dtype="int32", name="answer_ids")
        joint, _, words, seen = reader(memory, token_ids)
        texts = {"token_ids": token_ids, "answer_ids": answer_ids}
        decoder = keras.Model(
            {self.features_key: features, **texts},
            writer(joint, words, seen, token_ids, answer_ids),
            name="decoder",
        )
        encoded = encode(encoder, pictures, key=self.picture_key)
        outputs = decoder({self.features_key: encoded, **texts})
        super().__init__({**pictures, **texts}, outputs, name=name)
        self._set_parts(encoder, decoder, temporal, reader, tokenizer)
        self.writer = writer
        self.answers = answers

    def encode_answers(self, references):
        """Returns the words of the most frequent answers."""
        best = [comparable(most_frequent(answers)) for answers in references]
        return {"answer_ids": self.answers(tf.constant(best)).numpy()}

    def finish_answers(self, answers, real):
        """Returns the answers' words as inputs [B,Q,L], and one step ahead as targets [B,Q,L]."""
        rows = tf.where(real[..., None], answers["answer_ids"], PAD_ID)
        return {"answer_ids": rows[..., :-1]}, rows[..., 1:]

    def find_answers(self, image_features, token_ids, top_k):
        """Returns the k best answers of a beam search."""
        joint, _, words, memory = self.reader(
            self.remember(image_features), token_ids, training=False
        )
        tokens = self.writer.join(joint, words, memory, token_ids)
        # As wide for one candidate as for some, so that the first is the same; the score is the
        # mean over the words.
        strategy = BeamSearch(
            max(top_k, BEAM),
            length_penalty=1.0,
            num_return=top_k,
            constraints=(NO_UNKNOWN, MinimumLength(1)),
        )
        found = self.writer.write(tokens, self.answers, strategy)
        shape = tf.concat([tf.shape(token_ids)[:2], [top_k]], axis=0)
        texts = self.answers.detokenize(found.token_ids)
        return tf.reshape(texts, shape), tf.reshape(tf.exp(found.scores), shape)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        serialize = keras.saving.serialize_keras_object
        return {
            "encoder": serialize(self.encoder),
            "reader": serialize_unbuilt(self.reader),
            "tokenizer": serialize(self.tokenizer),
            "answers": serialize(self.answers),
            "writer": serialize_unbuilt(self.writer),
            **self._temporal_config(),
            "name": self.name,
        }
