"""The contact sheet: whole in one file, nothing of it taken for HTML, missing pictures told."""

import base64
import re

import tensorflow as tf

from keras_vlm.search.pages import write_contact_sheet


def test_a_page_that_needs_no_other_file(tmp_path):
    picture = tmp_path / "a <b> & 'c'.png"
    picture.write_bytes(tf.io.encode_png(tf.fill((30, 60, 3), tf.constant(200, tf.uint8))).numpy())
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    page = tmp_path / "new" / "found.html"
    rows = [(str(picture), "0.91"), (str(tmp_path / "broken.jpg"), "0.5"), ("gone.jpg", "0.1")]
    rows.append(("not \udcff utf-8.jpg", ""))
    write_contact_sheet([("<one>", rows), ("two", [])], page, title="a dog & <script>")
    text = page.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "a dog &amp; &lt;script&gt;" in text
    assert "&lt;one&gt;" in text
    assert "a &lt;b&gt; &amp; &#x27;c&#x27;.png" in text
    assert text.count("no picture</div>") == 3
    assert text.count("<figure>") == 4
    assert picture.resolve().as_uri().replace("'", "&#x27;") in text
    [data] = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    thumbnail = tf.io.decode_jpeg(base64.b64decode(data)).numpy()
    assert thumbnail.shape == (220, 220, 3)
    # The aspect is kept: grey in the middle, black above and below.
    assert abs(int(thumbnail[110, 110, 0]) - 200) < 6
    assert thumbnail[20, 110, 0] < 6
    assert not re.findall(r'(?:src|href)="https?:', text)
