"""Label sets: which classes a data set has, in which order fervit numbers them, and how the data set writes them.

The seven emotions of FER2013 are the default. Labels are 0..C-1 in the order of `LabelSet.classes`; the predefined sets
are in alphabetical order, as the seven are, whichever numbers the data sets use.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from fervit.errors import UserError
from fervit.io.files import JsonObject, first_line, from_home
from fervit.labels.emotions import EMOTIONS, KAGGLE_EMOTIONS, bare_name, emotion_of, without_number
from fervit.labels.text_yaml import read_texts
from fervit.parsing import nearest

MOST_CLASSES = 127
"""The labels in files are int8."""
KEYS = ("name", "classes", "numbers", "synonyms")
"""The keys of a file that defines a label set."""


@dataclass(frozen=True)
class LabelSet:
    """The classes of a data set. Two sets are equal if they have the same classes in the same order.

    Raises:
        ValueError: a class is named twice, there is only one, or there are more than 127.
    """

    classes: tuple[str, ...]
    """The names of the classes; a label is an index into them."""
    name: str = field(default="own", compare=False)
    numbers: Mapping[int, str] = field(default_factory=dict, compare=False)
    """The data set's own number of each class, such as the folders 1..7 of RAF-DB; empty if it has none."""
    synonyms: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Other names -> the classes that they mean, beside the common names in `fervit.labels.emotions.SYNONYMS`."""

    def __post_init__(self) -> None:
        # macOS lists names with decomposed accents; files and other systems have composed ones.
        object.__setattr__(self, "classes", tuple(map(_composed, self.classes)))
        object.__setattr__(self, "numbers", {number: _composed(name) for number, name in self.numbers.items()})
        object.__setattr__(self, "synonyms", {name: _composed(meant) for name, meant in self.synonyms.items()})
        bare = [bare_name(name) for name in self.classes]
        twice = next((name for name in self.classes if bare.count(bare_name(name)) > 1), None)
        if twice is not None:
            raise ValueError(f"the class '{twice}' appears twice")
        if "" in bare:
            raise ValueError("a class has no name")
        if len(bare) == 1 or len(bare) > MOST_CLASSES:
            raise ValueError(f"a label set has 2 to {MOST_CLASSES} classes, not {len(bare)}")
        unknown = next((name for name in (*self.numbers.values(), *self.synonyms.values()) if name not in self), None)
        if unknown is not None and self.classes:
            raise ValueError(f"'{unknown}' is none of its classes ({', '.join(self.classes)})")
        other = next(((str(n), name) for n, name in self.numbers.items() if name != str(n) in self), None)
        if other is not None:
            raise ValueError(f"the number {other[0]} means '{other[1]}', but another class is called '{other[0]}'")

    def __len__(self) -> int:
        return len(self.classes)

    def __contains__(self, name: object) -> bool:
        return name in self.classes

    @property
    def predefined(self) -> bool:
        """Whether it is one of `PREDEFINED` itself, rather than a set of the user that may have the same name."""
        return PREDEFINED.get(self.name) is self

    def index(self, name: str) -> int:
        """The label of a class."""
        return self.classes.index(name)

    def class_of(self, name: str) -> str | None:
        """The class that a name or a number of the data set means; None if it means none of this set.

        A class may be called by a number itself, such as "1".
        """
        known = {bare_name(other): meant for other, meant in self.synonyms.items()}
        known |= {bare_name(own): own for own in self.classes}
        for written in (name, without_number(name)):
            if (found := known.get(bare_name(written))) is not None:
                return found
        if name.strip().isdecimal():
            return self.numbers.get(int(name))
        emotion = emotion_of(name)
        return next((own for own in self.classes if emotion is not None and emotion_of(own) == emotion), None)

    def without_faces(self, counts: Iterable[int]) -> list[str]:
        """The classes that have no face, given the number of faces of each class [C]."""
        return [name for name, n in zip(self.classes, counts, strict=True) if n == 0]

    def to_json(self) -> JsonObject:
        """The fields by name, as a file that defines a set has them."""
        found: JsonObject = {"name": self.name, "classes": list(self.classes)}
        if self.numbers:
            found["numbers"] = {str(number): name for number, name in self.numbers.items()}
        return found | ({"synonyms": dict(self.synonyms)} if self.synonyms else {})

    @classmethod
    def from_json(cls, content: JsonObject) -> LabelSet:
        """Reads what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        numbers = {int(number): str(name) for number, name in content.get("numbers", {}).items()}
        name, synonyms = str(content["name"]), dict(content.get("synonyms", {}))
        found = cls(tuple(content["classes"]), name, numbers, synonyms)
        known = PREDEFINED.get(name)
        if known is not None and (known, known.numbers, known.synonyms) == (found, numbers, synonyms):
            return known
        return replace(found, name=_own_name(name))

    def __str__(self) -> str:
        """In words, such as "the seven emotions (angry, ...)" or "8 classes (angry, ...)"."""
        what = "the seven emotions" if self == SEVEN else f"{len(self)} classes"
        return f"{what} ({', '.join(self.classes)})"


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _own_name(name: str) -> str:
    """The name of a user's set, which is never that of a predefined one."""
    return f"own_{name}" if name in PREDEFINED or name == FOLDERS.name else name


def _alphabetical(name: str, numbered: Mapping[int, str]) -> LabelSet:
    return LabelSet(tuple(sorted(set(numbered.values()))), name, numbered)


SEVEN = LabelSet(EMOTIONS, "fer2013", dict(enumerate(KAGGLE_EMOTIONS)))
"""The seven emotions, which files without `labels` have. The numbers are those of fer2013.csv."""
EIGHT = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
PREDEFINED = {
    one.name: one
    for one in (
        SEVEN,
        _alphabetical("ferplus", dict(enumerate(EIGHT))),
        _alphabetical(
            "affectnet",
            dict(enumerate(("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt"))),
        ),
        _alphabetical(
            "rafdb", dict(enumerate(("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"), start=1))
        ),
        _alphabetical(
            "ckplus", dict(enumerate(("angry", "contempt", "disgust", "fear", "happy", "sad", "surprise"), start=1))
        ),
    )
}
"""The sets that `--labels` names. Numbers: Barsoum et al., "Training deep networks for facial expression recognition
with crowd-sourced label distribution" (2016), FER+; Mollahosseini et al., "AffectNet" (2017), whose 8 to 10 are none;
Li et al., "Reliable crowdsourcing" (2017), RAF-DB; Lucey et al., "The extended Cohn-Kanade dataset" (2010), CK+, of
whose sequences none is labelled 0, neutral."""
FOLDERS = LabelSet((), "folders")
"""Stands for the classes that the class folders of a data root are named after."""


def label_set_of(classes: Iterable[str]) -> LabelSet:
    """The label set with these classes in this order, with what is known of a predefined one.

    Raises:
        ValueError: a class is named twice, there is only one, or there are more than 127.
    """
    classes = tuple(classes)
    if not all(isinstance(name, str) for name in classes):
        raise ValueError("classes are named by text")
    found = LabelSet(classes)
    return next((one for one in PREDEFINED.values() if one == found), found)


def canonical(name: str) -> str:
    """The name of a class without a number before it; that of fervit where it is one of the eight emotions."""
    return emotion_of(name) or without_number(name).strip()


def read_label_set(given: str) -> LabelSet:
    """Reads what `--labels` was given: the name of a predefined set, `folders`, or a file.

    A file is YAML or JSON: a list of the classes in order, names by number, numbers by name, or a mapping with
    `classes` and, if need be, `numbers` (number -> class) and `synonyms` (other name -> class). A text file with a
    class a line is a list, too.

    Raises:
        UserError: there is no such set or file, or the file does not define a set.
    """
    if given in PREDEFINED or given == FOLDERS.name:
        return PREDEFINED.get(given, FOLDERS)
    path = Path(from_home(given))
    if not path.is_file():
        hint = nearest(given, (*PREDEFINED, FOLDERS.name))
        raise UserError(f"--labels {given}: is neither a known label set nor a file; {hint}, or give a file of classes")
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = read_texts(text)
        if isinstance(content, str):  # a class a line, or names between commas
            content = [name.strip() for line in text.splitlines() for name in line.split(",") if name.strip()]
        return _defined(content, path.stem)
    except (yaml.YAMLError, OSError, ValueError, TypeError) as error:
        raise UserError(
            f"--labels {given}: defines no label set ({first_line(error)}); write a list of classes in order, or "
            "classes, numbers and synonyms as YAML"
        ) from None


def _defined(content: Any, name: str) -> LabelSet:
    """The label set that the content of a file defines."""
    if isinstance(content, Mapping) and "classes" not in content and not isinstance(content.get("numbers"), Mapping):
        content = {"numbers": content}
    if not isinstance(content, Mapping):
        content = {"classes": content}
    unknown = next((str(key) for key in content if key not in KEYS), None)
    if unknown is not None:
        raise ValueError(f"there is no key '{unknown}'; {nearest(unknown, KEYS)}")
    numbers = _numbers(content.get("numbers") or {})
    listed = content.get("classes") or list(dict.fromkeys(name for _, name in sorted(numbers.items())))
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise ValueError("its classes are no list of names")
    if not listed:
        raise ValueError("it names no class")
    synonyms = content.get("synonyms") or {}
    if not isinstance(synonyms, Mapping):
        raise ValueError("its synonyms are no mapping of names to classes")
    other: dict[str, str] = {}
    for key, value in synonyms.items():  # `happy: [joy, smile]` or `joy: happy`
        named = canonical(str(key))
        other |= {str(one): named for one in value} if isinstance(value, list) else {str(key): canonical(str(value))}
    return LabelSet(tuple(map(canonical, listed)), _own_name(str(content.get("name") or name)), numbers, other)


def _numbers(content: Any) -> dict[int, str]:
    if not isinstance(content, Mapping):
        raise ValueError("its numbers are no mapping of numbers to classes")
    pairs = [(key, value) if str(key).isdecimal() else (value, key) for key, value in content.items()]
    if not all(str(number).isdecimal() and isinstance(name, str) for number, name in pairs):
        raise ValueError("its numbers are no mapping of whole numbers to classes")
    twice = next((number for number, n in Counter(int(number) for number, _ in pairs).items() if n > 1), None)
    if twice is not None:
        raise ValueError(f"the number {twice} appears twice")
    return {int(number): canonical(name) for number, name in pairs}
