"""Make one model of the mean weights of several that were trained from one: a model soup.

What one training has learned by heart another has not. Train with the same --start and another
--seed, --augment or --image-size each time, then average, and `keras-vlm evaluate` what came of it.
Unlike an ensemble (A+B in place of a model's name) it costs no more than one model to run.

example:
  keras-vlm average runs/tuned-0/model.keras runs/tuned-1/model.keras --out runs/soup.keras
"""

import pathlib


def add_arguments(parser):
    """Adds the flags."""
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", help="published models or .keras files, two or more"
    )
    parser.add_argument("--out", metavar="FILE", required=True, help="the .keras file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def run(options):
    """Averages and says what to do next."""
    from keras_vlm.core.files import replace_file
    from keras_vlm.tasks.reranking import Reranker
    from keras_vlm.tasks.soup import average_models
    from keras_vlm.zoo import load

    out = pathlib.Path(options.out)
    if out.suffix != ".keras":
        raise ValueError(f"--out must end in .keras, got {options.out!r}.")
    if out.exists() and not options.overwrite:
        raise FileExistsError(f"{out} exists. Pass --overwrite to replace it.")
    model = average_models([load(name) for name in options.models])
    with replace_file(out) as temporary:
        model.save(temporary)
    language = model.tokenizer.language
    more = "" if language == "en" else f" --language {language}"
    scored = f"RETRIEVER DATA --rerank {out}" if isinstance(model, Reranker) else f"{out} DATA"
    print(f"""Written: {out}, the mean of {len(options.models)} models

Score it beside them: keras-vlm evaluate {scored} --split val{more}""")
