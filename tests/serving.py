"""Calling a SavedModel from a process of its own, as those do who have not this package."""

import base64
import json
import pathlib
import subprocess
import sys
import textwrap

PHOTO = pathlib.Path(__file__).parent / "photos" / "photo.jpg"

# Neither finds this package: `keras_vlm` is made unimportable first.
ALONE = """
    import base64, json, sys
    sys.modules["keras_vlm"] = None
    import tensorflow as tf
    data = [base64.b64decode(text) for text in json.load(sys.stdin)]
"""
LOADED_BY_TENSORFLOW = ALONE + """
    found = tf.saved_model.load(sys.argv[1]).signatures[sys.argv[2]](
        **{sys.argv[3]: tf.constant(data)})
    found = {name: value.numpy() for name, value in found.items()}
"""
# What tensorflow_model_server does: XLA is off, the graph runs in a session.
LOADED_BY_A_SERVER = ALONE + """
    import ctypes, pathlib
    library = pathlib.Path(tf.__file__).parent / "libtensorflow_cc.so.2"
    ctypes.CDLL(str(library))._ZN10tensorflow21DisableXlaCompilationEv()
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], sys.argv[1])
        for name in sys.argv[2].split(","):
            signature = meta.signature_def[name]
            found = session.run(
                {name: info.name for name, info in signature.outputs.items()},
                {signature.inputs[sys.argv[3]].name: data})
"""
ANSWER = """
    print(json.dumps({
        name: [x.decode() for x in value.ravel()] if value.dtype == object else value.tolist()
        for name, value in found.items()}))
"""


def call_apart(
    loader, folder, data, signature="serving_default", argument="image_bytes"
):
    """Calls a SavedModel in a process of its own; returns its outputs.

    Of a server several signatures, apart by commas, may be called; then those of the last return.
    """
    code = textwrap.dedent(loader) + textwrap.dedent(ANSWER)
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-W", "ignore", "-c", code]
        + [str(folder), signature, argument],
        input=json.dumps([base64.b64encode(item).decode() for item in data]),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1].replace("-Infinity", "-1e999"))
