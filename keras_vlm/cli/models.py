"""List the published models: they come with the package and need no network."""

from keras_vlm.cli.arguments import print_json

# The scores by which the models of each task are known.
TOLD = (
    "accuracy", "BLEU-4", "CIDEr-D", "image_to_text_R@1", "text_to_image_R@1", "text_to_image_R@10",
)  # fmt: skip


def add_arguments(parser):
    """Adds the flags."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options):
    """Prints the table."""
    from keras_vlm.zoo import list_models

    models = list_models()
    if options.json:
        print_json(models)
        return
    print(f"{'name':42s} {'task':12s} {'MB':>5s}  scores")
    for model in models:
        told = [(name, model["scores"].get(name)) for name in TOLD]
        scores = ", ".join(f"{name} {score:.3g}" for name, score in told if score is not None)
        print(f"{model['name']:42s} {model['task']:12s} {model['size_mb']:5.1f}  {scores}")
    print(
        "\nUse one: keras-vlm caption NAME photo.jpg, "
        "keras-vlm ask NAME photo.jpg 'is it red?', "
        "keras-vlm video summarize film.mp4 --model NAME, or "
        "keras-vlm index DIR --model NAME --out INDEX"
    )
