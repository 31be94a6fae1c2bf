"""`model.text`."""

from __future__ import annotations

from zlib import crc32

import numpy as np

from pipeline.model.text import bucket, encode_texts, tokens, trimmed


def test_a_text_becomes_its_words_then_their_trigrams() -> None:
    # "<red>" holds <re, red, ed>; "red" is already there as a word. "<mug>" holds <mu, mug, ug>; "mug" likewise.
    assert tokens("Red mug") == ["red", "mug", "<re", "ed>", "<mu", "ug>"]


def test_case_and_width_of_letters_make_no_difference() -> None:
    assert tokens("RED") == tokens("\uff52\uff45\uff44") == tokens("red")


def test_any_script_has_tokens() -> None:
    assert tokens("чашка")[0] == "чашка"
    assert tokens("红茶") == ["红茶", "<红茶", "红茶>"]


def test_a_bucket_is_the_checksum_of_the_token_and_never_zero() -> None:
    assert bucket("mug", 100) == crc32(b"mug") % 100 + 1
    assert {bucket(str(n), 4) for n in range(200)} == {1, 2, 3, 4}


def test_texts_are_filled_from_the_left_and_lose_trigrams_first() -> None:
    encoded = encode_texts(["red mug", None, ""], 3, 1000)
    assert encoded.tolist() == [[bucket("red", 1000), bucket("mug", 1000), bucket("<re", 1000)], [0, 0, 0], [0, 0, 0]]


def test_columns_no_text_reaches_are_trimmed_but_for_one() -> None:
    assert trimmed(np.array([[7, 0, 0], [7, 8, 0]])).tolist() == [[7, 0], [7, 8]]
    assert trimmed(np.zeros((2, 3), np.int32)).tolist() == [[0], [0]]
