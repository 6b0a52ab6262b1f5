"""Penn Treebank tokenization as COCO's caption evaluation does it, without its Java.

Refuses to know scores. The rules are those of the Stanford PTB tokenizer 3.4.1 with lower case, as
far as prose needs them. Where they differ from it, and how seldom, is in the tests.
"""

import functools
import re

# What COCO's evaluation drops. Its list has "-LRB-" too, but after lower-casing there is none.
PUNCTUATION = frozenset("'' ' `` ` . ? ! , : - -- ... ; \" “ ” ‘ ’ – — …".split())

LETTER = r"[^\W\d_]"
ALNUM = r"[^\W_]"
QUOTE = r"['’]"
# Words whose dot is theirs wherever they stand.
ABBREVIATIONS = """
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri sat
    mr mrs ms messrs drs dr prof profs sen sens rep reps gov govs gen lt col maj sgt capt cpl adm
    rev hon pres supt sr jr st ste mt ft ave av blvd rd hwy cres det supt mme mlle etc al vs ex
    co cos corp corps inc ltd bros assn dept intl est figs bldg bld univ seq
    ala ariz ark calif colo conn del fla ga ill ind kan kans kas ky mass md mich minn miss mo mont
    neb nev okla ore penn tenn tex va vt wash wis wisc wyo
""".split()
# Words whose dot is theirs before a number.
NUMBERED = re.compile(r"(?:nos?|art|pp?|fig|prop)\.", re.IGNORECASE)
# Marks a chunk that keeps its dot; no text holds it, for it is white space.
ABBREVIATED = "\x1c"
# What is written as one word and counted as two.
DOUBLE = {
    "cannot": 3, "gonna": 3, "gotta": 3, "lemme": 3, "gimme": 3, "wanna": 3, "'tis": 2, "'twas": 2,
}  # fmt: skip
RENAMED = {
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
    "£": "#", "€": "$", "¢": "cents",
    "½": "1/2", "¼": "1/4", "¾": "3/4",
}  # fmt: skip
# Leading apostrophes and inner ones that belong to a word.
APOSTROPHE_WORDS = (
    rf"{QUOTE}(?:n{QUOTE}?|em|till?|cause|bout|round|\d\ds?)(?!{ALNUM})"
    rf"|(?:ma{QUOTE}am|ol{QUOTE}|[dol]{QUOTE}{LETTER}+)(?!{ALNUM})"
)
CONTRACTION = rf"(?:{QUOTE}(?:s|m|d|ll|re|ve)|n['’`]t)(?!{ALNUM})"
WORD = rf"{LETTER}{ALNUM}*(?:_+{ALNUM}+|[.!?]{LETTER}{ALNUM}*)*"
PIECE = rf"(?:{ALNUM}|(?<={ALNUM})[.,](?=\d))+"

TOKEN = re.compile(
    "|".join(
        [
            r"(?P<address>(?:https?://|www\.)[^\s\"<>|()]*[^\s\"<>|().,;:!?]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)",
            rf"(?P<tag></?{LETTER}[^<>\s]*\s*/?>)",
            rf"(?P<double>(?:cannot|gonna|gotta|lemme|gimme|wanna|{QUOTE}tis|{QUOTE}twas)(?!{ALNUM}))",
            rf"(?P<owned>{APOSTROPHE_WORDS})",
            rf"(?P<acronym>{LETTER}(?:\.{LETTER})*\.|(?:Ph|Ed)\.D\.)(?!{ALNUM})",
            rf"(?P<abbreviation>(?:{'|'.join(sorted(ABBREVIATIONS, key=len, reverse=True))})\.)"
            rf"(?!{ALNUM})",
            # The part of a word before its "n't", and what may follow a word.
            rf"(?P<negated>{LETTER}+(?=n['’`]t(?!{ALNUM})))",
            rf"(?P<contraction>{CONTRACTION})",
            rf"(?P<yall>y{QUOTE}(?={LETTER}))",
            r"(?P<handle>[@]\w+|c\+\+|(?-i:[A-Z]+&[A-Z]+))",
            r"(?P<number>[+-]?\d*(?:[.,:/-]?\d+)+(?![-/]?[^\W_]|[.,]\w))",
            rf"(?P<hyphened>{PIECE}(?:[-/]{PIECE})+)",
            rf"(?P<word>{WORD}|(?:\d+[.,])*\d*{ALNUM}+)",
            r"(?P<dropped>\.\.\.+|-{2,4}(?!-))",
            r"(?P<repeated>--+|[?!]+)",
            r"(?P<other>\S)",
        ]
    ),
    re.IGNORECASE,
)


def ptb_tokenize(text):
    """Splits a text into Penn Treebank words: lower case, one space between, no punctuation.

    Args:
        text: a string, one caption.

    Returns:
        A string.

    Example:
        >>> ptb_tokenize("A man's dog isn't here, Mr. Smith (he) cannot see it.")
        "a man 's dog is n't here mr. smith -lrb- he -rrb- can not see it"

    Source:
        Marcus et al. 1993, https://aclanthology.org/J93-2004; the list of dropped punctuation is
        that of Chen et al. 2015, https://arxiv.org/abs/1504.00325.
    """
    chunks = text.split()
    for i, chunk in enumerate(chunks[:-1]):
        if NUMBERED.fullmatch(chunk) and chunks[i + 1][0].isdigit():
            chunks[i] = chunk.lower() + ABBREVIATED
    return " ".join(filter(None, map(_tokenize_chunk, chunks)))


@functools.lru_cache(maxsize=1 << 16)
def _tokenize_chunk(chunk):
    """Tokenizes what stands between spaces: few different ones make up a corpus."""
    if chunk.endswith(ABBREVIATED):
        return chunk.removesuffix(ABBREVIATED)
    return " ".join(token for token in _tokens(chunk) if token not in PUNCTUATION)


def _tokens(chunk):
    """Yields the tokens of a chunk, most of its punctuation included."""
    for match in TOKEN.finditer(chunk):
        token, kind = match.group().lower().replace("’", "'"), match.lastgroup
        if kind == "double":
            yield token[: DOUBLE[token]]
            yield token[DOUBLE[token] :]
        elif kind != "dropped":
            yield RENAMED.get(token, token)
