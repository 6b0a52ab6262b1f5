"""What a summary looks like: JSON, WebVTT chapters, an HTML storyboard and a contact sheet.

Refuses to know how the summary was made.
"""

import pathlib

import numpy as np
import tensorflow as tf

from keras_vlm.core.files import replace_file, write_json
from keras_vlm.search.pages import write_page
from keras_vlm.video.digest import format_time

NAMES = {
    "json": "summary.json",
    "chapters": "chapters.vtt",
    "storyboard": "storyboard.html",
    "contact_sheet": "contact_sheet.png",
}
COLUMNS = 4
# Pictures of a contact sheet: one of thousands could not be drawn.
MOST_CELLS = 60
# Inches and dots an inch: what a picture of 4:3 and two lines of text need.
CELL, DPI = (3.2, 2.9), 100
LINE_CHARACTERS = 44
# Shots of a page: of ten hours there are thousands, which no browser shows well.
MOST_FIGURES = 600


def write_summary(summary, folder):
    """Writes all four files.

    Args:
        summary: a ``Summary``.
        folder: where; files of the same names are replaced.

    Returns:
        A dict from ``"json"``, ``"chapters"``, ``"storyboard"`` and ``"contact_sheet"`` to paths.
    """
    folder = pathlib.Path(folder)
    paths = {kind: folder / name for kind, name in NAMES.items()}
    write_json(paths["json"], describe_summary(summary))
    write_chapters(summary, paths["chapters"])
    write_storyboard(summary, paths["storyboard"])
    plot_contact_sheet(summary, paths["contact_sheet"])
    return paths


def describe_summary(summary):
    """Returns a summary as what JSON can hold: all but the pictures.

    Args:
        summary: a ``Summary``.

    Returns:
        A dict: ``video``, ``duration_seconds``, ``rate``, ``digest``, ``chapters`` and ``shots``.
    """
    return {
        "video": summary.path,
        "duration_seconds": round(summary.duration_seconds, 3),
        "rate": summary.rate,
        "digest": summary.digest,
        "chapters": [
            {
                "start_seconds": round(chapter.start_seconds, 3),
                "end_seconds": round(chapter.end_seconds, 3),
                "caption": chapter.shot.caption,
                "key_frame_seconds": chapter.shot.key_frames[0].time_seconds,
                "excerpt_seconds": [round(second, 3) for second in chapter.excerpt],
            }
            for chapter in summary.chapters
        ],
        "shots": [
            {
                "start_seconds": round(shot.start_seconds, 3),
                "end_seconds": round(shot.end_seconds, 3),
                "begins_with": shot.begins_with,
                "scene": shot.scene,
                "caption": shot.caption,
                "key_frames_seconds": [frame.time_seconds for frame in shot.key_frames],
            }
            for shot in summary.shots
        ],
    }


def write_chapters(summary, path):
    """Writes the chapters as WebVTT, which players and browsers show as a video's outline.

    Args:
        summary: a ``Summary``.
        path: the file to write, atomically.

    Source:
        W3C, "WebVTT: The Web Video Text Tracks Format", https://www.w3.org/TR/webvtt1.
    """
    cues = ["WEBVTT"]
    for number, chapter in enumerate(summary.chapters, 1):
        # Two lines would be two titles, and an arrow would end the text.
        text = " ".join(chapter.shot.caption.split()).replace("-->", "->") or f"Chapter {number}"
        text = text.replace("&", "&amp;").replace("<", "&lt;")
        start, end = map(_timestamp, (chapter.start_seconds, chapter.end_seconds))
        cues.append(f"{number}\n{start} --> {end}\n{text}")
    with replace_file(path) as temporary:
        temporary.write_text("\n\n".join(cues) + "\n", encoding="utf-8")


def write_storyboard(summary, path):
    """Writes a page with the chapters, and below them all shots; pictures lead into the video.

    Args:
        summary: a ``Summary``.
        path: the HTML file to write, atomically; thumbnails are inside it: of more than 600 shots
            those of 600, evenly spread over them.
    """
    video = pathlib.Path(summary.path)
    chapters = [_figure(video, chapter.shot) for chapter in summary.chapters]
    sections = [(f"{len(chapters)} chapters", chapters)]
    count = len(summary.shots)
    if count > len(chapters):
        shown = min(count, MOST_FIGURES)
        shots = [_figure(video, summary.shots[i * count // shown]) for i in range(shown)]
        told = "All" if shown == count else f"{shown} of"
        sections.append((f"{told} {count} shots", shots))
    write_page(sections, path, title=f"Storyboard of {video.name}", lead=summary.digest)


def plot_contact_sheet(summary, path):
    """Draws the chapters' key frames as one picture, with their times and captions.

    Args:
        summary: a ``Summary``; of more than 60 chapters 60 are drawn, evenly spread over them.
        path: the PNG file to write, atomically.
    """
    import textwrap

    from matplotlib.figure import Figure

    count = len(summary.chapters)
    cells = min(count, MOST_CELLS)
    chapters = [summary.chapters[place * count // cells] for place in range(cells)]
    columns = min(COLUMNS, cells)
    rows = -(-cells // columns)
    figure = Figure(figsize=(CELL[0] * columns, CELL[1] * rows), dpi=DPI, layout="constrained")
    axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axis in axes:
        axis.axis("off")
    for axis, chapter in zip(axes, chapters, strict=False):
        axis.imshow(tf.io.decode_jpeg(chapter.shot.key_frames[0].jpeg).numpy())
        told = f"{format_time(chapter.shot.start_seconds)}  {chapter.shot.caption}"
        lines = textwrap.wrap(told, LINE_CHARACTERS)[:2]
        # Plain text: a dollar sign begins no formula.
        axis.set_title("\n".join(lines), fontsize=8, loc="left", parse_math=False)
    with replace_file(path) as temporary:
        figure.savefig(temporary)


def _figure(video, shot):
    """Returns a shot as a figure of a page."""
    moment = shot.key_frames[0]
    link = f"{video.resolve().as_uri()}#t={shot.start_seconds:.2f}" if video.is_file() else None
    length = f"{shot.seconds:.0f} s" if shot.seconds >= 1 else f"{shot.seconds:.1f} s"
    note = f"{format_time(shot.start_seconds)}, {length}"
    return moment.jpeg, note, shot.caption, link


def _timestamp(seconds):
    """Returns hours, minutes, seconds and milliseconds as WebVTT has them."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}.{thousandths:03d}"
