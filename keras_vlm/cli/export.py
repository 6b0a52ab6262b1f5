"""Write one SavedModel that does the whole job, for TensorFlow Serving.

A captioner turns picture bytes into captions, a model of clips encoded frames (`frame_bytes`, and
signature `frames` for frames as they are); a model that answers questions turns picture bytes
and a question into an answer (signatures serving_default, top_k, ask_many); a retriever turns
picture bytes, and sentences, into vectors of one space (signatures embed_image and embed_text).

MODEL is the name of a published model or a .keras file, or several joined by `+`: an ensemble,
whose word probabilities are averaged. TensorFlow Serving looks for NAME/VERSION, so let DIR end in
a number.

example:
  keras-vlm export captioner-lite0-lstm-flickr8k served/captioner/1
"""

from keras_vlm.cli.arguments import load_members


def add_arguments(parser):
    """Adds the flags."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("folder", metavar="DIR", help="folder to write, such as captioner/1")
    parser.add_argument(
        "--beam-size", type=int, default=3, help="width of a captioner's beam search (default: 3)"
    )
    parser.add_argument(
        "--top-k", type=int, default=5, help="candidate answers to a question (default: 5)"
    )
    parser.add_argument(
        "--xla", action="store_true", help="add the signature beam_xla, which servers may refuse"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def run(options):
    """Exports and says how to call it."""
    from keras_vlm.export.saved_model import export_saved_model

    model = load_members(options.model)
    path = export_saved_model(
        model,
        options.folder,
        beam_size=options.beam_size,
        top_k=options.top_k,
        xla=options.xla,
        overwrite=options.overwrite,
    )
    if hasattr(model, "num_frames"):
        print(_tell_clips(path, model))
        return
    asks = hasattr(model, "answer")
    question = ', question=tf.constant(["is it red?"])' if asks else ""
    field = ', "question": "is it red?"' if asks else ""
    print(f"""Written: {path}

In Python, with TensorFlow alone:
  model = tf.saved_model.load("{path}")
  photo = tf.constant([open("photo.jpg", "rb").read()])
  model.signatures["serving_default"](image_bytes=photo{question})

With TensorFlow Serving, over REST:
  {{"instances": [{{"image_bytes": {{"b64": "..."}}{field}}}]}}""")


def _tell_clips(path, model):
    """Returns how to call a model of clips."""
    asks = hasattr(model, "answer")
    question = ', question=tf.constant(["which way does it move?"])' if asks else ""
    field = ', "question": "which way does it move?"' if asks else ""
    frames = ", ".join(['{"b64": "..."}'] * 2)
    return f"""Written: {path}

In Python, with TensorFlow alone, for the frames of a clip as pictures, {model.num_frames} or more:
  model = tf.saved_model.load("{path}")
  frames = tf.constant([[open(name, "rb").read() for name in names]])
  model.signatures["serving_default"](frame_bytes=frames{question})

With TensorFlow Serving, over REST:
  {{"instances": [{{"frame_bytes": [{frames}, ...]{field}}}]}}"""
