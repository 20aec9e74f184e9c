import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from vlad.errors import PromptError
from vlad.prompts import bank_names, load_bank
from vlad.prompts.categories import categories, kind_of, readable
from vlad.system.resources import cache_folder, data_folder

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "prompts.json").read_text())
PARITY_FILES = {
    "winclip_anomalib": "winclip_anomalib",
    "winclip_accurate": "winclip_anomalib",
    "aprilgan": "april_gan",
    "anovl": "anovl",
    "adaclip": "adaclip",
    "clipad": "clip_ad",
}
GOOD = """
title = "Brackets"
source = "the tests"
licence = "CC0-1.0"
templates = ["a photo of a {}.", "the {} here."]
[states]
normal = ["{}", "straight {}"]
anomalous = ["bent {}"]
"""


@pytest.fixture
def bank(tmp_path):
    """Loads a bank from its text: GOOD with lines put before it, replaced in it, added to it."""

    def load(before="", replace=("", ""), after="", name="my.toml"):
        text = f"{before}\n{GOOD.replace(*replace) if replace[0] else GOOD}\n{after}"
        (tmp_path / name).write_text(text, encoding="utf-8")
        return load_bank(tmp_path / name)

    return load


# What the methods embed


@pytest.mark.parametrize("file", PARITY_FILES)
@pytest.mark.parametrize("category", ["bottle", "metal_nut"])
def test_sentences_equal_the_authors(parity, file, category):
    path = parity.folder / "prompts" / f"{file}.json"
    expected = json.loads(path.read_text(encoding="utf-8"))[category]
    prompts = load_bank(PARITY_FILES[file]).expand(category)
    assert list(prompts.normal) == expected["normal"]["texts"]
    assert list(prompts.anomalous) == expected["abnormal"]["texts"]


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize("category", ["bottle", "metal_nut"])
def test_sentences_equal_the_stored_hashes(name, category):
    prompts = load_bank(name).expand(category)
    for side, expected in REFERENCE[name][category].items():
        sentences = getattr(prompts, side)
        assert (sentences[0], sentences[-1]) == (expected["first"], expected["last"])
        assert len(sentences) == expected["count"]
        assert hashlib.sha256("\n".join(sentences).encode()).hexdigest() == expected["sha256"]


def test_token_ids_equal_the_authors():
    open_clip = pytest.importorskip("open_clip")
    tokenizer = open_clip.get_tokenizer("ViT-B-16")
    for name, by_category in REFERENCE.items():
        for category, sides in by_category.items():
            for side, expected in sides.items():
                sentences = getattr(load_bank(name).expand(category), side)
                for row, ids in zip(
                    tokenizer([sentences[0], sentences[-1]]).tolist(),
                    (expected["first_ids"], expected["last_ids"]),
                    strict=True,
                ):
                    assert row == ids + [0] * (77 - len(ids))


def test_winclip_has_the_two_sentences_that_its_reimplementations_lack():
    paper = load_bank("winclip").expand("bottle")
    other = load_bank("winclip_anomalib").expand("bottle")
    assert (len(paper.normal), len(paper.anomalous)) == (154, 88)
    assert len(set(paper.normal)) == 154
    assert set(other.normal) < set(paper.normal)
    missing = [s for s in paper.normal if "flawless" in s and s not in other.normal]
    assert missing == [
        "a cropped photo of a flawless bottle.",
        "a jpeg corrupted photo of a flawless bottle.",
    ]


def test_adaptclip_has_the_sentences_of_winclip_about_an_object():
    expected = load_bank("winclip_anomalib").expand("object")
    for category in ("bottle", "metal_nut"):
        found = load_bank("adaptclip").expand(category)
        assert (found.normal, found.anomalous) == (expected.normal, expected.anomalous)


def test_anovl_has_other_templates_for_textures_and_one_name_for_macaroni():
    bank = load_bank("anovl")
    wood, bottle = bank.expand("wood"), bank.expand("bottle")
    assert len(set(wood.normal)) == len(wood.normal) == 462
    assert wood.anomalous[-1] == "a surface picture of a wood with damage for anomaly detection"
    assert not any("surface" in s or "textural" in s for s in bottle.normal)
    assert not any("manufacturing" in s for s in wood.normal)
    assert bank.expand("macaroni2") == bank.expand("macaroni")


def test_adaclip_reads_hyphens_as_spaces_and_keeps_underscores():
    assert load_bank("adaclip").expand("hex-nut_m8").normal[0] == "a bad photo of a hex nut_m8."


def test_anomalyclip_names_an_object_whatever_the_category():
    prompts = load_bank("anomalyclip").expand("hazelnut")
    assert prompts.normal == ("object.",)
    assert prompts.anomalous == ("damaged object.",)


@pytest.mark.parametrize(
    ("category", "words", "finding"),
    [
        ("brain", "MRI", "brain with tumor"),
        ("BrainMRI", "MRI", "brain with tumor"),
        ("CVC-ColonDB", "endoscop", "colon with polyp"),
        ("knee", "scan", "knee with lesion"),
    ],
)
def test_medical_words_follow_the_organ(category, words, finding):
    prompts = load_bank("medical").expand(category)
    assert any(words in s for s in prompts.normal)
    assert any(finding in s for s in prompts.anomalous)


@pytest.mark.parametrize("name", bank_names())
def test_shipped_banks_say_all_about_themselves(name):
    bank = load_bank(name)
    text = (data_folder("prompts") / f"{name}.toml").read_text(encoding="utf-8")
    assert bank.description
    assert "\n[counts]\n" in text
    prompts = bank.expand("hazelnut")
    assert not set(prompts.normal) & set(prompts.anomalous)
    assert all((bank.noun or "hazelnut") in s for s in prompts.normal + prompts.anomalous)


def test_every_override_of_medical_is_reached():
    bank = load_bank("medical")
    plain = bank.expand("knee").normal[1].replace("knee", "")
    for override in bank.overrides:
        for category in override.categories:
            assert bank.expand(category).normal[1].replace(category, "") != plain


# Keys


def test_key_is_the_same_in_another_process():
    code = "from vlad.prompts import load_bank; print(load_bank('anovl').expand('wood').key)"
    env = {**os.environ, "PYTHONHASHSEED": "12345"}
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=root, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == load_bank("anovl").expand("wood").key


def test_key_tells_sentences_sides_and_order_apart(bank):
    a = load_bank("winclip").expand("bottle")
    swapped = type(a)(a.anomalous, a.normal)
    moved = type(a)(a.normal[1:] + a.normal[:1], a.anomalous)
    shifted = type(a)((*a.normal, a.anomalous[0]), a.anomalous[1:])
    others = {load_bank("winclip").expand("cable").key, swapped.key, moved.key, shifted.key}
    assert len(others | {a.key}) == 5


def test_banks_and_prompts_travel_between_processes():
    bank = load_bank("medical")
    assert pickle.loads(pickle.dumps(bank)) == bank
    assert hash(bank.expand("skin")) == hash(bank.expand("skin"))


# Categories


def test_names_of_the_public_data_sets():
    assert len(categories()) == 15 + 12
    assert [c for c in categories() if kind_of(c) == "texture"] == [
        *("carpet", "grid", "leather", "tile", "wood"),
    ]
    assert readable("pcb3") == "printed circuit board"
    assert readable("left_bracket") == "left bracket"


def test_category_is_verbatim_unless_the_bank_wants_it_readable(bank):
    assert bank().expand(" metal_nut ").normal[0] == "a photo of a metal_nut."
    wanted = bank(before='names = "readable"')
    assert wanted.expand("metal_nut").normal[0] == "a photo of a metal nut."
    assert wanted.expand("PCB1").normal[0] == "a photo of a printed circuit board."
    assert wanted.expand("left_bracket").normal[0] == "a photo of a left bracket."


def test_synonyms_and_replacements(bank):
    chosen = bank(before='replace = { "+" = " plus " }', after='[synonyms]\nL_2 = "left bracket"')
    assert chosen.expand("l 2").normal[0] == "a photo of a left bracket."
    assert chosen.expand("a+b").normal[0] == "a photo of a a plus b."


def test_override_changes_only_its_categories_and_only_what_it_names(bank):
    after = '[[overrides]]\ncategories = ["screw_m8"]\nstates.anomalous = ["rusty {}", "bare {}"]'
    chosen = bank(after=after)
    assert chosen.expand("nut") == bank().expand("nut")
    screw = chosen.expand("Screw M8")
    assert screw.normal == bank().expand("Screw M8").normal
    assert screw.anomalous[0] == "a photo of a rusty Screw M8."
    assert len(screw.anomalous) == 4


def test_template_major_order(bank):
    prompts = bank(before='order = "template-major"').expand("nut")
    assert prompts.normal == (
        *("a photo of a nut.", "a photo of a straight nut."),
        *("the nut here.", "the straight nut here."),
    )


@pytest.mark.parametrize("word", ["hazelnut", "the left bracket", "M8-bolt (zinc)", "螺母", "2"])
def test_any_words_are_a_category(word):
    assert load_bank("winclip").expand(word).normal[0] == f"a cropped photo of the {word}."


@pytest.mark.parametrize("word", ["", "  ", "??", "a {} b", "a/b", "..\\x", "nut\nbolt", "x" * 101])
def test_a_category_that_names_nothing_is_refused(word):
    with pytest.raises(PromptError, match=r"category .* name the object in plain words"):
        load_bank("winclip").expand(word)


def test_a_bank_limited_to_categories_refuses_others_and_lists_its_own(bank):
    chosen = bank(before='categories = ["left_bracket", "hinge"]')
    assert chosen.expand("left bracket").anomalous[0] == "a photo of a bent left bracket."
    with pytest.raises(
        PromptError, match=r"does not support .*'nut'; choose from left bracket, hinge\."
    ):
        chosen.expand("nut")


# Bad banks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"replace": ('"bent {}"', '"bent"')}, r"states\.anomalous has 'bent'; write exactly one"),
        ({"replace": ('"bent {}"', '"{} by {}"')}, r"states\.anomalous has '{} by {}'"),
        ({"replace": ('"bent {}"', '"{x} {}"')}, r"states\.anomalous has '{x} {}'"),
        ({"replace": ('"the {} here."', '"here."')}, r"templates has 'here\.'"),
        ({"replace": ('"bent {}"', "")}, r"states\.anomalous is not a list of texts, or is empty"),
        ({"replace": ('"bent {}"', "3")}, r"states\.anomalous is not a list of texts"),
        ({"replace": ('["bent {}"]', '"bent {}"')}, r"states\.anomalous is not a list of texts"),
        ({"replace": ('normal = ["{}", "straight {}"]', "")}, r"states\.normal is not a list"),
        ({"replace": ('"bent {}"', '"bent {}", "bent {}"')}, r"states has 'bent {}' twice"),
        ({"replace": ('"bent {}"', '"straight {}"')}, r"states has 'straight {}' twice"),
        ({"replace": ('"the {} here."', '"a photo of a {}."')}, r"templates has .* twice"),
        (
            {"replace": ('title = "Brackets"', "")},
            r"title is missing or no text; write it as a line",
        ),
        ({"replace": ('"CC0-1.0"', '" "')}, r"licence is blank"),
        ({"before": 'tittle = "x"'}, r"tittle is not a key here; use title, source"),
        ({"after": 'abnormal = ["x {}"]'}, r"states\.abnormal is not a key"),
        ({"before": 'order = "random"'}, r"order is 'random'; choose state-major or template-m"),
        ({"before": 'names = "pretty"'}, r"names is 'pretty'; choose verbatim or readable"),
        ({"after": "[counts]\nnormal = 4\nanomalous = 3"}, r"counts\.anomalous is 3, but there"),
        ({"after": "[synonyms]\na = 1"}, r"synonyms is not a table of texts"),
        ({"after": '[overrides]\nkind = "texture"'}, r"below a line \[\[overrides\]\]"),
        ({"after": '[[overrides]]\ntemplates = ["{}"]'}, r"overrides\[0\]\.categories or kind"),
        ({"after": '[[overrides]]\nkind = "wool"'}, r"overrides\[0\]\.kind is 'wool'"),
        (
            {"after": '[counts]\nnormal = 4\n[[overrides]]\nkind = "texture"\ntemplates = ["{}"]'},
            r"overrides\[0\]\.counts\.normal is 4, but there are 2",
        ),
        ({"replace": ("[states]", "[states")}, r"is not a TOML file in UTF-8 \(.*line"),
    ],
)
def test_a_bad_bank_is_refused_with_file_key_and_fix(bank, change, message):
    with pytest.raises(PromptError, match=rf"my\.toml:? .*{message}") as caught:
        bank(**change)
    assert "\n" not in str(caught.value)


def test_repeated_texts_are_allowed_with_a_reason(bank):
    change = ('"the {} here."', '"a photo of a {}."')
    chosen = bank(before='duplicates = "weights the plain photo"', replace=change)
    assert chosen.expand("nut").normal[:2] == ("a photo of a nut.", "a photo of a nut.")


def test_bank_files_that_cannot_be_read(tmp_path):
    with pytest.raises(PromptError, match=r"gone\.toml cannot be read \(No such file"):
        load_bank(tmp_path / "gone.toml")
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe4"')
    with pytest.raises(PromptError, match=r"latin\.toml is not a TOML file in UTF-8"):
        load_bank(tmp_path / "latin.toml")


def test_a_bank_saved_by_notepad_loads(tmp_path):
    path = tmp_path / "my.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_bank(str(path)).title == "Brackets"


def test_unknown_bank_lists_the_names():
    with pytest.raises(PromptError, match=r"prompt bank 'winklip'\. Did you mean winclip\?"):
        load_bank("winklip")
    with pytest.raises(PromptError, match=r"Unknown prompt bank 'zebra'; choose one of .*winclip,"):
        load_bank("zebra")
    assert "categories" not in bank_names()


# Places


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("VLAD_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "vlad"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "vlad"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "vlad"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    assert cache_folder() == tmp_path / "Local" / "vlad"


# Faults
