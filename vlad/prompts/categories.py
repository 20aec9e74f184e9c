"""Names of categories: which are valid, and those of public data sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from vlad.errors import PromptError
from vlad.system.resources import data_folder, read_toml
from vlad.system.text import instead, shown

FILE = "categories.toml"
KINDS = ("object", "texture")
MAX_LENGTH = 100  # characters; CLIP has only 77 tokens


@dataclass(frozen=True)
class Category:
    """The readable name of a public data set's folder, and one of KINDS."""

    name: str
    kind: str


@cache
def categories() -> dict[str, Category]:
    """The categories of MVTec AD and VisA: folded folder name -> Category."""
    table = read_toml(data_folder("prompts") / FILE)
    return {fold(k): Category(**v) for dataset in table.values() for k, v in dataset.items()}


def fold(word: str) -> str:
    """The form to compare names in: "Metal-Nut" and "metal_nut" are both "metal nut"."""
    return " ".join(word.casefold().replace("_", " ").replace("-", " ").split())


def readable(word: str) -> str:
    """The name in words: from the data sets' list, else with spaces for underscores."""
    known = categories().get(fold(word))
    return known.name if known else word.replace("_", " ")


def kind_of(word: str) -> str:
    """ "texture" if the data sets list the category as one, else "object"."""
    known = categories().get(fold(word))
    return known.kind if known else "object"


def check_category(category: str) -> str:
    """The category without surrounding blanks; any words that name an object are valid.

    Raises:
        PromptError: it has no letter or digit, has a brace, a slash or a control character, or is
            longer than 100 characters.
    """
    word = category.strip()
    if not any(c.isalnum() for c in word):
        problem = "has no letter or digit"
    elif set(word) & set("{}/\\") or not word.isprintable():
        problem = "has a brace, a slash or a control character"
    elif len(word) > MAX_LENGTH:
        problem = f"is longer than {MAX_LENGTH} characters"
    else:
        return word
    raise PromptError(
        f"The category {word[:MAX_LENGTH]!r} {problem}; name the object in plain words, such as "
        "hazelnut."
    )


def check_words(words: Mapping[str, str], categories: Iterable[str]) -> dict[str, str]:
    """Category -> the words that prompts use instead of its name, without surrounding blanks.

    Args:
        categories: those of the data.

    Raises:
        PromptError: words for another category, or words that `check_category` refuses.
    """
    known = list(categories)
    for name in words:
        if name not in known:
            raise PromptError(
                f"there are words for the unknown category {shown(name)!r}{instead(name, known)}"
            )
    return {name: check_category(said) for name, said in words.items()}
