"""Indexing a folder of photos beside the backbone's own forward time for them, in one run.

    python benchmarks/indexing.py DIR --pictures 2000

From files to a saved index, with decoding, the towers' ends, the commits and the graph; beside it
the backbone alone, on pictures that are in memory as the numbers it wants. The claim: at most 1.3
times, for the backbone is the limit. Photos of many megapixels take longer to decode than to
encode, and the ratio grows; the forward time does not depend on their size.
"""

import argparse
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from keras_vlm.cli.index import PUBLISHED
from keras_vlm.data.image_files import find_pictures
from keras_vlm.search.pictures import index_pictures, load_retriever

BATCH = 32


def main():
    """Prints both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", metavar="DIR", help="a folder of photos")
    parser.add_argument("--pictures", type=int, help="how many of them (default: all)")
    parser.add_argument("--model", default=PUBLISHED, help=f"a retriever (default: {PUBLISHED})")
    parser.add_argument("--kind", default="hnsw", help="of the index (default: hnsw)")
    options = parser.parse_args()
    model = load_retriever(options.model)
    paths = find_pictures(options.folder)[: options.pictures]
    images = np.random.default_rng(0).uniform(0, 255, (BATCH, *model.image_size, 3))
    images = tf.constant(images, tf.float32)
    encode = tf.function(lambda images: model.encoder(images, training=False))
    encode(images)
    model.embed_images(paths[:BATCH])

    start = time.perf_counter()
    for _ in range(len(paths) // BATCH):
        encode(images)
    encode(images[: len(paths) % BATCH or 1])
    alone = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        found = index_pictures(
            model, paths, pathlib.Path(folder) / "index", kind=options.kind, verbose=0
        )
        whole = time.perf_counter() - start
    print(f"pictures {len(paths)}, of which {len(found.unreadable)} cannot be read")
    print(f"the backbone alone  {len(paths) / alone:8.1f} pictures/s")
    print(f"from files to index {len(paths) / whole:8.1f} pictures/s")
    print(f"ratio {whole / alone:.2f}")


if __name__ == "__main__":
    main()
