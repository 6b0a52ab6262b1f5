"""Pages to look at: pictures that were found, on one HTML page that needs no other file.

Refuses to know how they were found.
"""

import base64
import html
import pathlib

import tensorflow as tf

from keras_vlm.core.files import replace_file
from keras_vlm.data.image_files import read_or_nothing
from keras_vlm.data.image_inputs import decode_pictures

THUMBNAIL_PIXELS = 220
# Pictures decoded at once.
BATCH = 32
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fafafa; }}
h1 {{ font-size: 1.3rem; }} p {{ max-width: 48rem; }}
h2 {{ font-size: 1rem; margin: 2rem 0 .5rem; }}
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


def write_contact_sheet(sections, path, *, title, pictures=None):
    """Writes pictures under headings, each with its name and a note.

    Args:
        sections: list of ``(heading, rows)``; a row is ``(picture's path, note)``. A path where
            there is no picture that can be read is shown by its name.
        path: the HTML file to write, atomically; thumbnails are inside it.
        title: what the page is.
        pictures: None where the keys are paths; else a dict from keys to encoded pictures.
    """
    keys = list(dict.fromkeys(key for _, rows in sections for key, _ in rows))
    thumbnails = _thumbnails(keys, read_or_nothing if pictures is None else pictures.__getitem__)
    write_page(
        [
            (heading, [(thumbnails[key], note, key, _link(key)) for key, note in rows])
            for heading, rows in sections
        ],
        path,
        title=title,
    )


def write_page(sections, path, *, title, lead=""):
    """Writes small pictures that are at hand under headings.

    Args:
        sections: list of ``(heading, figures)``; a figure is ``(jpeg, note, text, link)``: bytes,
            or None where there is no picture; two strings, of which the first is bold; and where
            the picture leads, or None.
        path: the HTML file to write, atomically.
        title: what the page is.
        lead: a paragraph below the title.
    """
    parts = [f"<p>{_escape(lead)}</p>"] if lead else []
    for heading, figures in sections:
        shown = "".join(_figure(*figure) for figure in figures)
        parts.append(f'<h2>{_escape(heading)}</h2>\n<div class="sheet">{shown}</div>')
    page = PAGE.format(title=_escape(title), sections="\n".join(parts), pixels=THUMBNAIL_PIXELS)
    with replace_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _link(key):
    """Returns a link that browsers follow from a page on disk; data sets may have no file."""
    path = pathlib.Path(key)
    return path.resolve().as_uri() if path.is_file() else None


def _figure(jpeg, note, text, link):
    picture = '<div class="none">no picture</div>'
    if jpeg is not None:
        data = base64.b64encode(jpeg).decode("ascii")
        picture = f'<img alt="" src="data:image/jpeg;base64,{data}">'
    if link is not None:
        picture = f'<a href="{_escape(link)}">{picture}</a>'
    told = f"<b>{_escape(note)}</b> {_escape(text)}"
    return f"\n<figure>{picture}<figcaption>{told}</figcaption></figure>"


def _escape(text):
    """Returns text for HTML; half a character of a file's name becomes a question mark."""
    return html.escape(str(text).encode("utf-8", errors="replace").decode("utf-8"))


def _thumbnails(keys, read):
    """Returns for each path a small JPEG, or None where there is no picture that can be read."""
    found = {}
    for start in range(0, len(keys), BATCH):
        part = keys[start : start + BATCH]
        size = (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS)
        images, valid = decode_pictures([read(key) for key in part], size, "pad")
        images = tf.saturate_cast(tf.round(images), tf.uint8)
        for key, image, readable in zip(part, images, valid.numpy(), strict=True):
            found[key] = tf.io.encode_jpeg(image, quality=80).numpy() if readable else None
    return found
