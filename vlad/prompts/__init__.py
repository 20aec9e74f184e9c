"""Prompt banks: sentences about normal and anomalous objects, as data.

A bank is a TOML file of states, templates and their source; prompts/README.md describes the format.
Expanding a bank puts the category into every state, and every state into every template.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlad.errors import PromptError
from vlad.prompts.categories import FILE, KINDS, check_category, fold, kind_of, readable
from vlad.system.resources import data_folder
from vlad.system.tables import Table, read_table
from vlad.system.text import instead, shown

ORDERS = ("state-major", "template-major")
NAMES = ("verbatim", "readable")
SIDES = ("normal", "anomalous")
MAX_SENTENCES = 10_000  # per side
MAX_PHRASE = 1000  # characters; CLIP reads 77 tokens
MAX_OVERRIDES = 1000
FAULT = "<fault>"
OVERRIDE_KEYS = ("categories", "kind", "templates", "states", "counts", "faults")
BANK_KEYS = (
    *("title", "source", "licence", "description", "order", "names", "noun", "replace"),
    *("synonyms", "categories", "duplicates", "templates", "states", "counts", "overrides"),
    "faults",
)


@dataclass(frozen=True)
class Prompts:
    """The sentences of one category, in the order of the bank.

    Attributes:
        faults: what the bank says may be wrong with it; a box counts if its phrase holds one.
        states: side -> the state of each of its sentences; no sides if they are of no bank.
    """

    normal: tuple[str, ...]
    anomalous: tuple[str, ...]
    faults: tuple[str, ...] = ()
    states: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False, kw_only=True)

    @property
    def key(self) -> str:
        """SHA-256 (hex) of the sentences of both sides in order; the same in any process."""
        return hashlib.sha256(json.dumps([self.normal, self.anomalous]).encode()).hexdigest()


@dataclass(frozen=True)
class Wording:
    """States of both sides and the templates around them, each with one `{}`.

    Attributes:
        templates: side -> those of its states.
        faults: what may be wrong with the categories; the anomalous states begin with these.
    """

    normal: tuple[str, ...]
    anomalous: tuple[str, ...]
    templates: Mapping[str, tuple[str, ...]]
    faults: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Side -> number of its expanded sentences."""
        return {side: len(getattr(self, side)) * len(self.templates[side]) for side in SIDES}


@dataclass(frozen=True)
class Override:
    """Another wording for the listed categories (folded), or for all categories of one kind."""

    categories: tuple[str, ...]
    kind: str
    wording: Wording


@dataclass(frozen=True, repr=False)
class PromptBank:
    """A validated prompt bank.

    Attributes:
        name: file name without suffix.
        title, source, licence, description: metadata, with the source of its sentences.
        wording: the states and templates.
        order: "state-major" (all templates of the first state, then of the next) or
            "template-major".
        names: "verbatim" uses a category as given, "readable" in words.
        noun: the word used for every category, or "".
        replace: text -> replacement, in the name of the category.
        synonyms: category (folded) -> the word used for it.
        categories: the only categories (folded) it supports; empty for any.
        overrides: other wordings; the first that applies is used.
        faults: words for a fault of any category; None where the bank lists no faults.
        content: that of its file.
        suffix: of its file.
    """

    name: str
    title: str
    source: str
    licence: str
    description: str
    wording: Wording
    order: str
    names: str
    noun: str
    replace: Mapping[str, str]
    synonyms: Mapping[str, str]
    categories: tuple[str, ...]
    overrides: tuple[Override, ...]
    faults: tuple[str, ...] | None
    content: bytes
    suffix: str = ".toml"

    def __repr__(self) -> str:
        return f"<PromptBank {self.name}>"

    def expand(self, category: str) -> Prompts:
        """The sentences about a category.

        Raises:
            PromptError: the category is invalid (see `check_category`), not one of the bank's, or
                without faults in a bank that lists these.
        """
        name, wording = self.wording_of(category)
        return Prompts(
            self._sentences(wording, "normal", name),
            self._sentences(wording, "anomalous", name),
            wording.faults + (self.faults or ()),
            states={side: tuple(x for x, _ in self._pairs(wording, side, name)) for side in SIDES},
        )

    def wording_of(self, category: str) -> tuple[str, Wording]:
        """What the sentences call a category, and their wording.

        Raises:
            PromptError: as `expand`.
        """
        word = check_category(category)
        name = check_category(self._name(word))
        asked = {fold(word), fold(name)}
        if self.categories and asked.isdisjoint(self.categories):
            raise PromptError(
                f"The prompt bank {self.name} does not support the category {word!r}; choose from "
                f"{shown(', '.join(self.categories))}."
            )
        kind = kind_of(word)
        fits = (o for o in self.overrides if o.kind == kind or not asked.isdisjoint(o.categories))
        wording = next((override.wording for override in fits), self.wording)
        if self.faults is not None and not wording.faults:
            known = [c for override in self.overrides for c in override.categories]
            raise PromptError(
                f"The prompt bank {self.name} lists no faults of {word!r}; add them to a copy of "
                f"the bank, or call it by one of {shown(', '.join(known))}."
            )
        return name, wording

    @property
    def sentences(self) -> list[str]:
        """All sentences of all its wordings, once each, about one of its categories."""
        name = self.noun or next(iter(self.categories), "object")
        wordings = [self.wording, *(override.wording for override in self.overrides)]
        said = (self._sentences(wording, side, name) for wording in wordings for side in SIDES)
        return list(dict.fromkeys(sentence for sentences in said for sentence in sentences))

    def _name(self, word: str) -> str:
        name = readable(word) if self.names == "readable" else word
        name = self.noun or self.synonyms.get(fold(word), name)
        for old, new in self.replace.items():
            name = check_category(name.replace(old, new))  # after each, since lengths may multiply
        return name

    def _sentences(self, wording: Wording, side: str, name: str) -> tuple[str, ...]:
        pairs = self._pairs(wording, side, name)
        return tuple(template.replace("{}", state) for state, template in pairs)

    def _pairs(self, wording: Wording, side: str, name: str) -> list[tuple[str, str]]:
        """The state, with its category, and the template of each sentence."""
        templates = wording.templates[side]
        states = [state.replace("{}", name) for state in getattr(wording, side)]
        if self.order == "state-major":
            return [(state, template) for state in states for template in templates]
        return [(state, template) for template in templates for state in states]


def bank_names() -> list[str]:
    """The names of the banks shipped with vlad, in alphabetical order."""
    return sorted(p.stem for p in data_folder("prompts").glob("*.toml") if p.name != FILE)


def load_bank(name_or_path: str | Path | PromptBank) -> PromptBank:
    """A shipped bank by name, any bank by the path of its TOML or Parquet file, or the given one.

    Raises:
        PromptError: there is no such bank, or its file is unreadable or invalid.
    """
    if isinstance(name_or_path, PromptBank):
        return name_or_path
    path = Path(name_or_path)
    if str(name_or_path) in bank_names():
        path = data_folder("prompts") / f"{name_or_path}.toml"
    elif path.suffix == ".parquet":
        from vlad.prompts.captions import read_captions

        return read_captions(path)
    elif path.suffix != ".toml" and not path.is_file():
        known = bank_names()
        or_path = f"choose one of {', '.join(known)}, or give the path of a TOML file"
        raise PromptError(
            f"Unknown prompt bank {str(name_or_path)!r}{instead(name_or_path, known, or_path)}"
        )
    table = read_table(path, PromptError)
    text = path.read_text(encoding="utf-8-sig")
    return _bank(path.stem, _Reader(path, table, BANK_KEYS, PromptError), text)


class _Reader(Table):
    """Readers of the values that only banks have."""

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        value: Any = self.table.get(key, default)
        ok = isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value)
        self.need(
            ok and (value or default is not None),
            key,
            "is not a list of texts, or is empty; list some",
        )
        return tuple(value)

    def phrases(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        value = self.texts(key, default)
        for phrase in value:
            rest = phrase.replace("{}", "", 1)
            ok = rest != phrase and not set(rest) & set("{}")
            said = shown(repr(phrase))
            self.need(ok, key, f"has {said}; write exactly one {{}} for the words")
            self.need(
                len(phrase) <= MAX_PHRASE,
                key,
                f"has {said}, over {MAX_PHRASE} characters; shrink it",
            )
        return value

    def templates(self, base: Wording | None) -> dict[str, tuple[str, ...]]:
        """Templates of each side, from one list for both or from a list each."""
        if isinstance(self.table.get("templates"), dict):
            each = self.sub("templates", SIDES)
            return {s: each.phrases(s, base.templates[s] if base else None) for s in SIDES}
        if base and "templates" not in self.table:
            return dict(base.templates)
        return dict.fromkeys(SIDES, self.phrases("templates"))

    def fault_state(self) -> str:
        value = self.text("state", "")
        ok = value.count("{}") == value.count(FAULT) == 1
        self.need(ok, "state", f"is {shown(repr(value))}; write one {{}} and one {FAULT} into it")
        return value

    def words(self, key: str) -> dict[str, str]:
        value = self.table.get(key, {})
        ok = isinstance(value, dict) and all(k and isinstance(v, str) for k, v in value.items())
        self.need(ok, key, "is not a table of texts; write it as one")
        return value

    def overrides(self) -> list[_Reader]:
        value = self.table.get("overrides", [])
        ok = isinstance(value, list) and all(isinstance(v, dict) for v in value)
        self.need(ok, "overrides", "are not tables; write each below a line [[overrides]]")
        self.need(
            len(value) <= MAX_OVERRIDES,
            "overrides",
            f"are more than {MAX_OVERRIDES}; leave some out",
        )
        return [
            _Reader(self.path, v, OVERRIDE_KEYS, PromptError, f"overrides[{i}].")
            for i, v in enumerate(value)
        ]


def _bank(name: str, reader: _Reader, text: str) -> PromptBank:
    unique = not reader.text("duplicates", "")
    faults = reader.sub("faults", ("state", "any"))
    listed = "faults" in reader.table
    state = faults.fault_state() if listed else ""
    wording = _wording(reader, None, reader.sub("counts", SIDES).table, unique)
    return PromptBank(
        name=name,
        title=reader.text("title"),
        source=reader.text("source"),
        licence=reader.text("licence"),
        description=reader.text("description", "").strip(),
        wording=wording,
        order=reader.text("order", ORDERS[0], ORDERS),
        names=reader.text("names", NAMES[0], NAMES),
        noun=reader.text("noun", ""),
        replace=reader.words("replace"),
        synonyms={fold(k): v for k, v in reader.words("synonyms").items()},
        categories=tuple(map(fold, reader.texts("categories", ()))),
        overrides=tuple(
            _override(other, wording, reader.sub("counts", SIDES).table, unique, state)
            for other in reader.overrides()
        ),
        faults=faults.texts("any", ()) if listed else None,
        content=text.encode(),
    )


def _override(
    reader: _Reader, base: Wording, counts: Mapping[str, int], unique: bool, state: str
) -> Override:
    categories = tuple(map(fold, reader.texts("categories", ())))
    kind = reader.text("kind", "", ("", *KINDS))
    fix = "or kind must select where the override applies; give one of the two"
    reader.need(bool(categories) != bool(kind), "categories", fix)
    counts = reader.sub("counts", SIDES).table or counts
    faults = reader.texts("faults", ())
    fix = "has no [faults] above it that says by `state` how sentences name one; write it"
    reader.need(bool(state) or not faults, "faults", fix)
    for fault in faults:
        ok = fault.strip() and len(fault) <= MAX_PHRASE and not set(fault) & set("{}<>")
        reader.need(ok, "faults", f"has {shown(repr(fault))}; write a few words without braces")
    return Override(categories, kind, _wording(reader, base, counts, unique, faults, state))


def _wording(
    reader: _Reader,
    base: Wording | None,
    counts: Mapping[str, int],
    unique: bool,
    faults: tuple[str, ...] = (),
    state: str = "",
) -> Wording:
    """The wording in a table, with defaults from `base`, checked against its counts."""
    states = reader.sub("states", SIDES)
    anomalous = states.phrases("anomalous", base.anomalous if base else None)
    wording = Wording(
        states.phrases("normal", base.normal if base else None),
        tuple(state.replace(FAULT, fault) for fault in faults) + anomalous,
        reader.templates(base),
        faults,
    )
    for side, number in wording.counts.items():
        fix = f"make {number:,} {side} sentences; keep to {MAX_SENTENCES:,} at most"
        reader.need(number <= MAX_SENTENCES, "states", fix)
    for key, phrases in (
        ("states", wording.normal + wording.anomalous),
        *(("templates", wording.templates[side]) for side in SIDES),
    ):
        for phrase, times in Counter(phrases).items():
            fix = f"has {phrase!r} twice; remove one, or give the reason as duplicates at the top"
            reader.need(not unique or times == 1, key, fix)
    listed = len(faults) * len(wording.templates["anomalous"])
    for side, made in wording.counts.items():
        number = made - listed * (side == "anomalous")  # lists of faults differ in length
        said = counts.get(side, number)
        fix = f"is {shown(repr(said))}, but there are {number} sentences; correct one of them"
        reader.need(said == number, f"counts.{side}", fix)
    return wording
