"""PTB tokenization against the Java program, and by hand where there is no Java."""

import shutil

import pytest

from keras_vlm.metrics.ptb import ptb_tokenize

# Text -> what Stanford PTBTokenizer 3.4.1 and COCO's list of punctuation make of it.
BY_HAND = {
    "A man's dog isn't here. Mr. Smith said \"hello\" (yes) to the U.S. team.":
        "a man 's dog is n't here mr. smith said hello -lrb- yes -rrb- to the u.s. team",
    "He cannot go; they're gonna 'run' at 3:30 p.m. for $3.50 & 50%!":
        "he can not go they 're gon na run at 3:30 p.m. for $ 3.50 & 50 %",
    "a black/white t-shirt, 1/2 of the dogs -- well-known...":
        "a black/white t-shirt 1/2 of the dogs well-known",
    "it's 'tis the dogs' toy 10,000 #5 St. Louis rock o'clock":
        "it 's 't is the dogs toy 10,000 # 5 st. louis rock o'clock",
    "two-year-old e.g. this i.e. that the 90's '90s 5th 3rd 3x4 50cm 4WD":
        "two-year-old e.g. this i.e. that the 90 's '90s 5th 3rd 3x4 50cm 4wd",
    "[bracket] {curly} a*b x_y a+b=c": "-lsb- bracket -rsb- -lcb- curly -rcb- a * b x_y a + b = c",
    "“curly quotes” ‘single’ dash–dash café £5 €6": "curly quotes single dash dash café # 5 $ 6",
    "wanna gotta lemme gimme dunno o'brien y'all ma'am 'em 'cause":
        "wan na got ta lem me gim me dunno o'brien y' all ma'am 'em 'cause",
    "don't won't can't shan't i'm i've i'd we'll should've":
        "do n't wo n't ca n't sha n't i 'm i 've i 'd we 'll should 've",
    "the man-- with ---- dashes .. two ..... five !!! ?! ??":
        "the man with dashes two five !!! ?! ??",
    "AT&T at&t R&B b&w rock & roll": "at&t at & t r&b b & w rock & roll",
    "a 4-wheeler, 64-bit. No. 5 no. Ahmed R. Smith": "a 4-wheeler 64-bit no. 5 no ahmed r. smith",
    "": "",
}  # fmt: skip


@pytest.mark.parametrize("text", BY_HAND)
def test_by_hand(text):
    assert ptb_tokenize(text) == BY_HAND[text]


@pytest.mark.skipif(shutil.which("java") is None, reason="the reference tokenizer needs Java")
def test_the_list_is_what_java_says():
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    texts = [text for text in BY_HAND if text]
    found = PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(texts)})
    assert [found[i][0] for i in range(len(texts))] == [BY_HAND[text] for text in texts]
