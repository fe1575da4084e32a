from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from fervit.errors import UserError
from fervit.labels.label_set import PREDEFINED, SEVEN, LabelSet, read_label_set

EIGHT = ("angry", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")


def test_the_predefined_sets_have_their_classes_in_alphabetical_order_and_their_own_numbers() -> None:
    assert PREDEFINED["rafdb"] == SEVEN  # models and codes of the two go together
    assert PREDEFINED["ferplus"].classes == PREDEFINED["affectnet"].classes == EIGHT
    assert "neutral" not in PREDEFINED["ckplus"]
    for name, number, meant in (
        ("rafdb", "1", "surprise"),
        ("affectnet", "2", "sad"),
        ("ferplus", "2", "surprise"),
        ("ckplus", "2", "contempt"),
        ("fer2013", "6", "neutral"),
    ):
        assert PREDEFINED[name].class_of(number) == meant
    assert PREDEFINED["affectnet"].class_of("8") is None


def test_names_mean_classes_by_one_table_of_synonyms_and_those_of_the_file() -> None:
    own = LabelSet(("anger", "calm"), synonyms={"relaxed": "calm"})
    assert [own.class_of(name) for name in ("Angry", "0_CALM", "relaxed", "happy")] == ["anger", "calm", "calm", None]
    assert [SEVEN.class_of(name) for name in ("Happiness", "2_fear", "contempt")] == ["happy", "fear", None]


@pytest.mark.parametrize(
    ("text", "classes", "number"),
    [
        ("happily surprised\nsadly angry\n", ("happily surprised", "sadly angry"), None),
        ("[Anger, joy, calm]", ("angry", "happy", "calm"), None),
        ("1: happily surprised\n2: sadly angry\n", ("happily surprised", "sadly angry"), "sadly angry"),
        ('{"positive": 2, "negative": 1}', ("negative", "positive"), "positive"),
        ("classes: [a, b]\nnumbers: {2: a}\nsynonyms: {b: [beta]}\n", ("a", "b"), "a"),
        ('- "1"\n- "2"\n', ("1", "2"), "2"),
        ("[1, 2]", ("1", "2"), "2"),
        ("1: no\n02: yes\n010: off\n", ("no", "yes", "off"), "yes"),
    ],
)
def test_a_file_defines_a_set_in_any_of_the_usual_forms(
    tmp_path: Path, text: str, classes: tuple[str, ...], number: str | None
) -> None:
    (tmp_path / "labels.yaml").write_text(text)
    found = read_label_set(str(tmp_path / "labels.yaml"))
    assert found.classes == classes
    assert found.class_of("2") == number
    assert LabelSet.from_json(json.loads(json.dumps(found.to_json()))).class_of("2") == number


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[happy]", "a label set has 2 to 127 classes, not 1"),
        ("[happy, Happiness]", "the class 'happy' appears twice"),
        ("{classes: [a, b], number: {}}", "there is no key 'number'; did you mean 'numbers'?"),
        ("classes: {a: [}", "defines no label set"),
        ("{classes: [a, b], numbers: {1: c}}", "'c' is none of its classes"),
        ("", "it names no class"),
        ("{}", "it names no class"),
        ("classes: []", "it names no class"),
        ("# nothing", "it names no class"),
        ("1: happy\n2: sad\n1: fear", "the key '1' appears twice"),
        ("1: happy\n2: sad\n01: fear", "the number 1 appears twice"),
        ("{classes: ['1', '2'], numbers: {1: '2', 2: '1'}}", "the number 1 means '2', but another class is called '1'"),
    ],
)
def test_a_file_that_defines_none_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_label_set(str(tmp_path / "labels.yaml"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_set_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'affectnet'"):
        read_label_set("afectnet")


def test_numbers_in_a_file_are_decimal_and_accents_are_compared_in_whichever_form_they_are_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "labels.yaml").write_text("1: no\n010: off\n")
    assert read_label_set(str(tmp_path / "labels.yaml")).class_of("10") == "off"
    composed, decomposed = (unicodedata.normalize(form, "colère") for form in ("NFC", "NFD"))
    (tmp_path / "labels.yaml").write_text(f"- {composed}\n- joie\n")
    found = read_label_set(str(tmp_path / "labels.yaml"))
    assert found.class_of(decomposed) == composed  # as macOS lists a folder of this name
    assert LabelSet((decomposed, "joie")) == found  # sets of codes that were made on either system go together
