"""From JPEG bytes to batches of pictures and words, beside decoding alone, in one run.

    python benchmarks/input_pipeline.py DIR
    python benchmarks/input_pipeline.py DIR --photo-size 480x640

The aim: without augmentation at least 70 % of the rate of ``tf.io.decode_jpeg`` on the same cores;
the figure with augmentation stands beside it. On 2026-11-29, on an idle machine: 81 % (light
augmentation 18 %, standard 9 %) of pictures of 224 pixels, which need no resizing; with
``--photo-size 480x640 --pictures 9000`` 77 % (37 %, 24 %). Files are read once before, so that the
disk is not what is measured; where the folder has fewer pictures than asked for they are read
several times an epoch, since an epoch's beginning costs some tenths of a second, whatever its
length.
"""

import argparse
import itertools
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from keras_vlm.data.image_files import find_pictures
from keras_vlm.data.pipeline import EpochSeed, image_batches
from keras_vlm.data.sources.base import BytesExamples
from keras_vlm.text.tokenizer import Tokenizer
from keras_vlm.vision.augmentation import AUGMENTATIONS

BATCH, ROUNDS, MOST_READ = 32, 3, 3000
WORDS = ["a", "dog", "runs", "through", "the", "grass"]


def rate(dataset, pictures):
    """Returns the best of some rounds, in pictures a second."""
    best = 0.0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in dataset:
            pass
        best = max(best, pictures / (time.perf_counter() - start))
    return best


def enlarge(image, size):
    """Encodes a picture anew, as a photo of another size."""
    size = [int(side) for side in size.split("x")]
    larger = tf.image.resize(tf.io.decode_jpeg(image, 3), size, "bicubic")
    pixels = tf.cast(tf.clip_by_value(larger, 0, 255), tf.uint8)
    return tf.io.encode_jpeg(pixels, quality=90).numpy()


def main():
    """Prints the rates and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", metavar="DIR", help="a folder of JPEG files")
    parser.add_argument("--pictures", type=int, default=24_000, help="an epoch's (default: 24000)")
    parser.add_argument(
        "--photo-size", metavar="HxW", help="encode the pictures anew at this size (COCO: 480x640)"
    )
    parser.add_argument("--image-size", type=int, default=224, help="default: 224")
    options = parser.parse_args()
    paths = [path for path in find_pictures(options.folder) if path.suffix.lower() == ".jpg"]
    images = [path.read_bytes() for path in paths[: min(options.pictures, MOST_READ)]]
    if options.photo_size:
        images = [enlarge(image, options.photo_size) for image in images]
    count = options.pictures // BATCH * BATCH
    images = list(itertools.islice(itertools.cycle(images), count))
    captions = [[" ".join(WORDS)] * 5] * count
    ids = [str(number) for number in range(count)]
    examples = BytesExamples("memory", "train", "en", ids, captions, images)
    alone = tf.data.Dataset.from_tensor_slices(images).map(
        lambda data: tf.io.decode_jpeg(data, 3), num_parallel_calls=tf.data.AUTOTUNE
    )
    size = (options.image_size, options.image_size)

    def batches(augmentation):
        return image_batches(
            examples, Tokenizer(WORDS), BATCH, image_size=size,
            augmentation=augmentation, epoch_seed=EpochSeed(0),
        )  # fmt: skip

    decoded = rate(alone.prefetch(tf.data.AUTOTUNE), count)
    print(f"pictures {count}")
    print(f"decode_jpeg alone      {decoded:8.0f} pictures/s")
    for name, augmentation in (
        ("no augmentation", None),
        ("light", AUGMENTATIONS["light"]),
        ("standard", AUGMENTATIONS["standard"]),
    ):
        found = rate(batches(augmentation), count)
        print(f"batches, {name:15s}{found:8.0f} pictures/s, ratio {found / decoded:.2f}")


if __name__ == "__main__":
    main()
