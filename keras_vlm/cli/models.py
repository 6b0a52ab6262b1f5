"""List the published models: they come with the package and need no network."""

from keras_vlm.cli.arguments import print_json


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
    print(f"{'name':42s} {'task':12s} {'MB':>5s}  BLEU-4  CIDEr-D")
    for model in models:
        scores = model["scores"]
        print(
            f"{model['name']:42s} {model['task']:12s} {model['size_mb']:5.1f}  "
            f"{scores['BLEU-4']:.3f}   {scores['CIDEr-D']:.3f}"
        )
    print("\nUse one: keras-vlm caption NAME photo.jpg")
