"""The tokenizer answers as open_clip's does."""

import random

import pytest
from open_clip.tokenizer import SimpleTokenizer

from anomalib_zsad.backbone import tokenizer
from anomalib_zsad.backbone.tokenizer import Tokenizer

TEXTS = [
    "",
    " ",
    "a",
    "metal nut",
    "Metal_Nut  02",
    "it's 12 o'clock, they'd say; we'll see",
    "Schraubenmutter aus Messing, größer als 5 µm",
    "金属螺母 и гайка",
    "&lt;b&gt; &amp;amp; \t new\nline",
    "<start_of_text> a <end_of_text>",
    "<START_OF_TEXT>",
    "😀 ﬁne… â€œquotesâ€\x9d",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "!!!??? #$%&*()[]{}",
]


@pytest.fixture(scope="module")
def pair() -> tuple[Tokenizer, SimpleTokenizer]:
    return Tokenizer(), SimpleTokenizer()


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_open_clip(pair: tuple[Tokenizer, SimpleTokenizer], text: str) -> None:
    own, theirs = pair
    assert own.encode(text) == theirs.encode(text)


def test_random_texts_have_the_ids_of_open_clip(pair: tuple[Tokenizer, SimpleTokenizer]) -> None:
    own, theirs = pair
    draw = random.Random(0)  # noqa: S311
    letters = [chr(code) for code in (*range(32, 0x250), *range(0x370, 0x400), *range(0x4E00, 0x4E40))]
    for _ in range(2000):
        text = "".join(draw.choices(letters, k=draw.randrange(1, 20)))
        assert own.encode(text) == theirs.encode(text), repr(text)


def test_random_texts_of_plain_letters_have_the_ids_of_open_clip(pair: tuple[Tokenizer, SimpleTokenizer]) -> None:
    own, theirs = pair
    draw = random.Random(1)  # noqa: S311
    letters = [chr(code) for code in range(128)]
    for _ in range(2000):
        text = "".join(draw.choices(letters, k=draw.randrange(1, 20)))
        assert own.encode(text) == theirs.encode(text), repr(text)


def test_start_and_end(pair: tuple[Tokenizer, SimpleTokenizer]) -> None:
    own, theirs = pair
    assert own.start_and_end == (theirs.sot_token_id, theirs.eot_token_id) == (49406, 49407)


def test_a_vocabulary_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "_VOCABULARY", "gone.txt.gz")
    with pytest.raises(FileNotFoundError, match=r"gone.txt.gz is missing; reinstall the package open_clip_torch"):
        Tokenizer()
