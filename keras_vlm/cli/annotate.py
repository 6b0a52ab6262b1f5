"""Write captions, questions and boxes for a folder of pictures, in the browser.

The page is on this machine alone (127.0.0.1). Every edit is written at once to DIR/captions.jsonl,
which folder:DIR reads, and DIR/questions/questions.jsonl, which folder:DIR/questions reads.

example:
  keras-vlm annotate my_photos
  keras-vlm train folder:my_photos --out runs/first
"""

import sys


def add_arguments(parser):
    """Adds the flags."""
    parser.add_argument("folder", metavar="DIR", help="a folder of pictures")
    parser.add_argument("--language", default="en", help="of what is written (default: en)")
    parser.add_argument("--port", type=int, default=8765, help="default: 8765")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")


def run(options):
    """Serves the page until Ctrl-C."""
    from keras_vlm.annotate.page import HOST, serve_annotations
    from keras_vlm.annotate.store import AnnotationStore

    store = AnnotationStore(options.folder, language=options.language)
    print(f"http://{HOST}:{options.port} - Ctrl-C ends it.", file=sys.stderr, flush=True)
    serve_annotations(store, port=options.port, open_browser=not options.no_browser)
