"""Find pictures of a folder that are nearly the same: copies, other sizes, two shots of one scene.

Pictures are alike when a retriever's vectors of them are. Nothing is deleted.

example:
  keras-vlm duplicates holiday --threshold 0.95 --html same.html
"""

from keras_vlm.cli.arguments import print_json, print_text
from keras_vlm.cli.index import PUBLISHED


def add_arguments(parser):
    """Adds the flags."""
    parser.add_argument("folder", metavar="DIR", help="a folder of pictures")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.95,
        help="least cosine of two that are the same; 0.99 for copies (default: 0.95)",
    )
    parser.add_argument(
        "--model", default=PUBLISHED, help=f"a retriever, by name or file (default: {PUBLISHED})"
    )
    parser.add_argument("--html", metavar="FILE", help="also write a page of the groups")
    parser.add_argument("--json", action="store_true", help="print JSON: a list of groups")


def run(options):
    """Prints a group a paragraph."""
    from keras_vlm.search.pages import write_contact_sheet
    from keras_vlm.search.pictures import find_duplicates, load_retriever

    groups = find_duplicates(
        load_retriever(options.model),
        options.folder,
        threshold=options.threshold,
        verbose=0 if options.json else 1,
    )
    if options.json:
        print_json(groups)
    else:
        print_text("\n\n".join("\n".join(group) for group in groups) or "No two are the same.")
    if options.html:
        sections = [
            (f"{len(group)} pictures", [(key, "") for key in group]) for group in groups
        ]
        title = f"{len(groups)} groups of near duplicates in {options.folder}"
        write_contact_sheet(sections, options.html, title=title)
