"""Pages to look at: pictures that were found, on one HTML page that needs no other file.

Refuses to know how they were found.
"""

import base64
import html
import pathlib

import tensorflow as tf

from keras_vlm.core.files import replace_file
from keras_vlm.vision.image import decode_safely

THUMBNAIL_PIXELS = 220
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fafafa; }}
h1 {{ font-size: 1.3rem; }} h2 {{ font-size: 1rem; margin: 2rem 0 .5rem; }}
.sheet {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
figure {{ margin: 0; width: {pixels}px; }}
img, .none {{ width: {pixels}px; height: {pixels}px; object-fit: contain; background: #e8e8e8;
  border-radius: 6px; }}
.none {{ display: flex; align-items: center; justify-content: center; color: #777; }}
figcaption {{ font-size: 12px; overflow-wrap: anywhere; }}
figcaption b {{ font-variant-numeric: tabular-nums; }}
@media (prefers-color-scheme: dark) {{ body {{ color: #ddd; background: #181818; }}
  img, .none {{ background: #2a2a2a; }} }}
</style></head><body>
<h1>{title}</h1>
{sections}
</body></html>
"""


def write_contact_sheet(sections, path, *, title):
    """Writes pictures under headings, each with its name and a note.

    Args:
        sections: list of ``(heading, rows)``; a row is ``(picture's path, note)``.
        path: the HTML file to write, atomically; thumbnails are inside it.
        title: what the page is.
    """
    parts = []
    for heading, rows in sections:
        figures = "".join(_figure(pathlib.Path(key), note) for key, note in rows)
        parts.append(f'<h2>{html.escape(heading)}</h2>\n<div class="sheet">{figures}</div>')
    page = PAGE.format(
        title=html.escape(title), sections="\n".join(parts), pixels=THUMBNAIL_PIXELS
    )
    with replace_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _figure(path, note):
    name = html.escape(str(path))
    # A link that browsers follow from a page on disk; a picture of a data set may have no file.
    link = html.escape(path.resolve().as_uri()) if path.is_file() else ""
    picture = _thumbnail(path) or '<div class="none">no picture</div>'
    shown = f'<a href="{link}">{picture}</a>' if link else picture
    return (
        f"\n<figure>{shown}<figcaption><b>{html.escape(note)}</b> {name}</figcaption></figure>"
    )


def _thumbnail(path):
    """Returns an ``img`` element, or None where there is no picture that can be read."""
    if not path.is_file():
        return None
    size = (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS)
    image, valid = decode_safely(tf.constant(path.read_bytes()), size, "pad")
    if not valid:
        return None
    jpeg = tf.io.encode_jpeg(tf.saturate_cast(tf.round(image), tf.uint8), quality=80).numpy()
    data = base64.b64encode(jpeg).decode("ascii")
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'
