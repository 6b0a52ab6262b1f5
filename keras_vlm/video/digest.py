"""The words of a summary: a paragraph, and times as people write them.

Refuses to know how shots were found and chosen.
"""


def write_digest(chapters, shots, seconds, language="en"):
    """Writes the paragraph.

    Args:
        chapters: list of ``Chapter``.
        shots: number of all shots.
        seconds: the video's length.
        language: ``"zh"`` for Chinese sentences; others are put together as in English.

    Returns:
        A string.

    Example:
        >>> from keras_vlm.video.summary import Chapter, Shot
        >>> shot = Shot(0.0, 5.0, "start", 0, (), "a dog runs")
        >>> write_digest([Chapter(0.0, 5.0, shot, (0.0, 4.0))], 1, 5.0)
        '0:05 long, one shot. A dog runs (0:00).'
    """
    told, before = [], None
    for chapter in chapters:
        caption = chapter.shot.caption.strip(" .。")
        if caption and caption != before:
            told.append((caption, format_time(chapter.shot.start_seconds)))
        before = caption
    if language == "zh":
        sentences = "；".join(f"{caption}（{time}）" for caption, time in told)
        return f"全长{format_time(seconds)}，共{shots}个镜头。" + (f"{sentences}。" if told else "")
    count = "one shot" if shots == 1 else f"{shots} shots"
    text = f"{format_time(seconds)} long, {count}."
    for place, (caption, time) in enumerate(told):
        begin = "Then " if place else ""
        sentence = f"{begin}{caption}"
        text += f" {sentence[:1].upper()}{sentence[1:]} ({time})."
    return text


def format_time(seconds):
    """Returns seconds as ``1:02`` or ``1:02:03``.

    Args:
        seconds: a number.

    Returns:
        A string.

    Example:
        >>> format_time(62.4), format_time(3723)
        ('1:02', '1:02:03')
    """
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
