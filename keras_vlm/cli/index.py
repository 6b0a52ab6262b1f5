"""Put pictures into an index, to find them by a sentence or by a picture.

WHAT is a folder of pictures, with all folders below it, or a data source (see `keras-vlm train
--help`) with --split. Type the same command again to go on after an interruption, or to add new
pictures: those that are in the index are not read again.

example:
  keras-vlm index holiday --out holiday.index
  keras-vlm search holiday.index "a dog in the snow"
"""

import pathlib

from keras_vlm.cli.arguments import print_json, print_text

PUBLISHED = "retriever-lite0-flickr8k"


def add_arguments(parser):
    """Adds the flags."""
    parser.add_argument("what", metavar="WHAT", help="a folder of pictures, or a data source")
    parser.add_argument("--out", required=True, metavar="INDEX", help="folder of the index")
    parser.add_argument(
        "--model", default=PUBLISHED, help=f"a retriever, by name or file (default: {PUBLISHED})"
    )
    parser.add_argument("--split", default="train", help="of a data source (default: train)")
    parser.add_argument("--language", default="en", help="of a data source (default: en)")
    parser.add_argument(
        "--kind",
        default="hnsw",
        help="of a new index: hnsw (fast), hnsw_int8 (less memory) or flat (exact, and needs "
        "no extra package) (default: hnsw)",
    )
    parser.add_argument(
        "--prune", action="store_true", help="remove pictures whose files are gone"
    )
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")


def run(options):
    """Indexes, and says what to type next."""
    from keras_vlm.data.sources import SOURCES, load_data
    from keras_vlm.search.pictures import index_pictures, load_retriever

    is_folder = pathlib.Path(options.what).is_dir()
    # With a colon it is meant for a source, whose name load_data puts right.
    if not is_folder and ":" not in options.what and options.what not in SOURCES:
        raise FileNotFoundError(
            f"{options.what}: no such folder, and no data source of this name. Sources: "
            f"{', '.join(SOURCES)}."
        )
    model = load_retriever(options.model)
    found = index_pictures(
        model,
        options.what
        if is_folder
        else load_data(options.what, language=options.language, texts="captions")[options.split],
        options.out,
        model_name=str(pathlib.Path(options.model).resolve())
        if pathlib.Path(options.model).exists()
        else options.model,
        kind=options.kind,
        prune=options.prune,
        verbose=0 if options.json else 1,
    )
    if options.json:
        print_json({**vars(found), "index": options.out})
        return
    example = "雪地里的狗" if model.tokenizer.language == "zh" else "a dog in the snow"
    print_text(
        f"{found.added} pictures added, {found.known} were there, {found.removed} removed, "
        f"{len(found.unreadable)} cannot be read.\nNext:\n"
        f'  keras-vlm search {options.out} "{example}" --html found.html'
    )
