import pytest
from videos import stitched, write_video

from keras_vlm import load

LENGTHS = (75, 90, 60, 80, 70, 100, 75)


@pytest.fixture(scope="session")
def published():
    """The published captioner of photos."""
    return load("captioner-lite0-lstm-flickr8k")


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A function from a dissolve's length to a stitched film and its boundaries in seconds."""
    folder = tmp_path_factory.mktemp("films")
    made = {}

    def make(dissolve):
        if dissolve not in made:
            frames, places = stitched(LENGTHS, dissolve=dissolve, size=(96, 128), seed=11)
            path = write_video(folder / f"film{dissolve}.mp4", frames, sound=True)
            made[dissolve] = path, [place / 25 for place in places], len(frames) / 25
        return made[dissolve]

    return make
