"""Look at a data set before training on it, or write it as TFRecord shards.

Counts, lengths, vocabulary, sizes, pictures that cannot be read or that look the same in two
splits, labels; then what that means, in plain words. DATA is a source, as for `keras-vlm train`.

example:
  keras-vlm data folder:my_photos --html my_photos.html
  keras-vlm data 'coco:captions_{split}2014.json:{split}2014' --convert shards --name my_coco
  keras-vlm train tfds:my_coco:shards --out runs/first
"""

import itertools
import sys

from keras_vlm.cli.arguments import print_json, print_text

SAMPLES = 12


def add_arguments(parser):
    """Adds the flags."""
    parser.add_argument("data", metavar="DATA", help="a data source")
    parser.add_argument("--language", default="en", help="of the captions (default: en)")
    parser.add_argument("--keys", help="names of the data's own keys, as for keras-vlm train")
    parser.add_argument(
        "--texts",
        help="captions or questions, of a folder that has both (default: questions)",
    )
    parser.add_argument("--html", metavar="FILE", help="also write a page with sample pictures")
    parser.add_argument("--json", action="store_true", help="print JSON: all numbers")
    parser.add_argument("--convert", metavar="OUT", help="write TFRecord shards to OUT instead")
    parser.add_argument(
        "--name",
        help="name of the converted data set (default: the source's, with my_ before it where "
        "TensorFlow Datasets has one of that name)",
    )
    parser.add_argument(
        "--shard-pictures", type=int, default=1000, help="pictures a shard (default: 1000)"
    )


def run(options):
    """Prints the report, or converts."""
    from keras_vlm.data import load_data

    splits = load_data(
        options.data, language=options.language, keys=options.keys, texts=options.texts
    )
    verbose = 0 if options.json else 1
    if options.convert:
        from keras_vlm.data.convert import convert_data, is_in_catalogue

        taken = is_in_catalogue(splits.name)
        name = options.name or (f"my_{splits.name}" if taken else splits.name)
        folder = convert_data(
            splits,
            options.convert,
            name,
            shard_pictures=options.shard_pictures,
            verbose=verbose,
        )
        print(f"Written: {folder}\nRead it as: tfds:{name}:{options.convert}", file=sys.stderr)
        return
    from keras_vlm.data.report import describe_data

    report = describe_data(splits, verbose=verbose)
    if options.json:
        print_json(report)
    else:
        print_text("\n".join(_lines(report)))
    if options.html:
        _write_page(splits, report, options)


def _lines(report):
    """Yields the report's lines."""
    for name, split in report["splits"].items():
        yield f"{name}: {split['pictures']} pictures"
        for key, value in split.items():
            if key == "pictures" or value in ({}, [], 0):
                continue
            if isinstance(value, dict):
                value = ", ".join(f"{inner} {number}" for inner, number in value.items())
            elif isinstance(value, list):
                value = f"{len(value)} (the first: {value[0]})"
            yield f"  {key.replace('_', ' ')}: {value}"
    for pair in report["duplicates"][:10]:
        one, other = (":".join(pair[side]) for side in ("one", "other"))
        yield f"look the same: {one} and {other}"
    yield ""
    yield from report["verdict"]


def _write_page(splits, report, options):
    """Writes the page: the verdict, and sample pictures of each split with a caption."""
    from keras_vlm.search.pages import write_contact_sheet

    sections, pictures = [(sentence, []) for sentence in report["verdict"]], {}
    for name in splits:
        rows = []
        for example in itertools.islice(splits[name].dataset().as_numpy_iterator(), SAMPLES):
            key = example["image_id"].decode("utf-8", errors="replace")
            texts = example.get("captions", example.get("questions"))
            pictures[f"{name}: {key}"] = example["image_bytes"]
            rows.append((f"{name}: {key}", texts[0].decode("utf-8") if len(texts) else ""))
        sections.append((f"{name}, {len(splits[name])} pictures", rows))
    write_contact_sheet(
        sections, options.html, title=f"{options.data}: what is in it", pictures=pictures
    )
