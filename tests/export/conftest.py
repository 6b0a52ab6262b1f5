import pytest
from PIL import Image
from serving import PHOTO


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Eight files of different sizes and formats, the sixth of them corrupt."""
    folder = tmp_path_factory.mktemp("pictures")
    photo = Image.open(PHOTO).convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    saved = [
        ("a.jpg", photo, {}),
        ("b.png", photo.resize((31, 47)), {}),
        ("c.gif", photo.resize((61, 29)), {}),
        ("d.bmp", photo.resize((17, 23)), {}),
        ("e.jpg", photo.resize((101, 67)), {"exif": turned.tobytes()}),
        ("g.png", photo.resize((1, 1)), {}),
        ("h.webp", photo.resize((53, 59)), {"lossless": True}),
    ]
    data = []
    for name, image, options in saved:
        image.save(folder / name, **options)
        data.append((folder / name).read_bytes())
    data.insert(5, data[0][: len(data[0]) // 3])
    return data
