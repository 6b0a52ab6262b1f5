"""Show what a model will see in training: augmented pictures on one HTML page.

Boxes move with the picture; where it is mirrored, left and right change places in its caption.

example:
  keras-vlm augment folder:my_photos --augment standard --html augmented.html
"""

import sys


def add_arguments(parser):
    """Adds the flags."""
    parser.add_argument("data", metavar="DATA", help="a data source, as for keras-vlm train")
    parser.add_argument("--augment", default="standard", help="flip, light, standard (the default)")
    parser.add_argument("--html", metavar="FILE", required=True, help="the page to write")
    parser.add_argument("--split", default="train", help="default: train")
    parser.add_argument("--language", default="en", help="of the captions (default: en)")
    parser.add_argument("--keys", help="names of the data's own keys, as for keras-vlm train")
    parser.add_argument("--pictures", type=int, default=4, help="how many (default: 4)")
    parser.add_argument("--views", type=int, default=6, help="changes of each (default: 6)")
    parser.add_argument("--image-size", type=int, default=224, help="pixels a side (default: 224)")
    parser.add_argument("--seed", type=int, default=0, help="of the changes (default: 0)")


def run(options):
    """Writes the page."""
    from keras_vlm.core.checks import check_choice
    from keras_vlm.data import load_data
    from keras_vlm.data.views import augmented_views
    from keras_vlm.search.pages import write_contact_sheet
    from keras_vlm.vision.augmentation import AUGMENTATIONS

    check_choice("keras-vlm augment", "--augment", options.augment, AUGMENTATIONS)
    examples = load_data(
        options.data, language=options.language, keys=options.keys, texts="captions"
    )[options.split]
    sections, jpegs = [], {}
    for image_id, views in augmented_views(
        examples,
        AUGMENTATIONS[options.augment],
        image_size=options.image_size,
        views=options.views,
        pictures=options.pictures,
        seed=options.seed,
    ):
        rows = []
        for number, (jpeg, caption, mirrored) in enumerate(views):
            told = "as it is" if number == 0 else f"view {number}"
            key = f"{image_id}: {told}{', mirrored' if mirrored else ''}"
            jpegs[key] = jpeg
            rows.append((key, caption))
        sections.append((image_id, rows))
    title = f"{options.data} by {options.augment}"
    write_contact_sheet(sections, options.html, title=title, pictures=jpegs)
    print(f"Written: {options.html}", file=sys.stderr)
