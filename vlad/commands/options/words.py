"""The option of commands over several categories for what prompts call each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlad.commands.options.option import option
from vlad.errors import InputError
from vlad.system.text import shown

words_option = option(
    "--words CATEGORY=WORDS",
    'What prompts call a category, as in 01="glass bottle"; may be repeated.  [default: its name]',
    "words",
    multiple=True,
)


def words_of(given: Sequence[str], categories: Iterable[str]) -> dict[str, str]:
    """Category -> its words, from the values of --words.

    Args:
        categories: those of the data.

    Raises:
        InputError: a value without "=", or two for one category.
        PromptError: an unknown category, or invalid words.
    """
    from vlad.prompts.categories import check_words

    found: dict[str, str] = {}
    for text in given:
        name, equals, words = text.partition("=")
        if not equals:
            raise InputError(
                f'--words {shown(text)} names no category; write it as bottle="glass bottle".'
            )
        if name in found:
            raise InputError(f"--words is given twice for {shown(name)}; leave one out.")
        found[name] = words
    return check_words(found, categories)
