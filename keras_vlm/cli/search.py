"""Find pictures of an index by a sentence, by a picture, or by both.

A score is the cosine of the two in the model's space, at most 1. With --rerank, a second model
reads the pictures that were found first (at least 20) and puts them in order by scores of its own.

example:
  keras-vlm search holiday.index "a dog in the snow" --k 20 --html found.html
  keras-vlm search holiday.index --image one_like_this.jpg
  keras-vlm search holiday.index "a dog in the snow" --rerank runs/rerank/model.keras
"""

import pathlib
import sys

from keras_vlm.cli.arguments import open_reranker, print_json, print_text


def add_arguments(parser):
    """Adds the flags."""
    parser.add_argument("index", metavar="INDEX", help="a folder that keras-vlm index made")
    parser.add_argument("text", metavar="SENTENCE", nargs="?", help="what to look for")
    parser.add_argument("--image", metavar="FILE", help="a picture to look for the like of")
    parser.add_argument("--k", type=int, default=10, help="pictures to find (default: 10)")
    parser.add_argument("--model", help="the model that made the index, if it was moved")
    parser.add_argument("--rerank", metavar="MODEL", help="a re-ranker, by name or file")
    parser.add_argument("--html", metavar="FILE", help="also write a page of the pictures")
    parser.add_argument("--json", action="store_true", help="print JSON: picture, score")


def run(options):
    """Searches and prints a table."""
    from keras_vlm.search.pages import write_contact_sheet
    from keras_vlm.search.pictures import load_retriever, open_index, search_pictures

    index, model = open_index(
        options.index, load_retriever(options.model) if options.model else None
    )
    unknown = model.unknown_words(options.text) if options.text else []
    found = search_pictures(
        index,
        model,
        text=options.text,
        image=options.image,
        k=options.k,
        reranker=open_reranker(options.rerank) if options.rerank else None,
    )
    if unknown:
        print(
            f"keras-vlm search: the model has never learned: {', '.join(unknown)}", file=sys.stderr
        )
    if options.json:
        print_json([{"picture": key, "score": score} for key, score in found])
    else:
        for key, score in found:
            print_text(f"{score:.3f}  {key}")
    if options.html:
        asked = " and ".join(
            part for part in (options.text, options.image and f"like {options.image}") if part
        )
        rows = [(key, f"{score:.3f}") for key, score in found]
        heading = f"{len(found)} of {len(index)} pictures"
        write_contact_sheet([(heading, rows)], options.html, title=asked)
        if found and not any(pathlib.Path(key).is_file() for key, _ in found):
            print(
                "keras-vlm search: the page has names alone: no picture of the index is a file "
                "here.",
                file=sys.stderr,
            )
        print(f"Written: {options.html}", file=sys.stderr)
