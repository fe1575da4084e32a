"""Reads YAML and JSON with names of classes. Every scalar is text, so that `no`, `010` and `1` stay as written."""

from __future__ import annotations

from collections import Counter
from typing import Any

import yaml

NULLS = ("", "~", "null", "Null", "NULL")


class _TextLoader(yaml.BaseLoader):
    """Reads scalars as text, but for null, and refuses a key that appears twice in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep)
        keys = Counter(str(key.value) for key, _ in node.value)
        twice = next((key for key, n in keys.items() if n > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{twice}' appears twice", node.start_mark)
        return found

    def construct_scalar(self, node: yaml.ScalarNode) -> str | None:  # type: ignore[override]
        plain = node.style is None and node.value in NULLS
        return None if plain else str(super().construct_scalar(node))


def read_texts(text: str) -> Any:
    """The content of a YAML or JSON text: mappings, lists, texts, and None.

    Raises:
        yaml.YAMLError: it is neither, or a key appears twice in a mapping.
    """
    return yaml.load(text, _TextLoader)  # which makes nothing but texts
