"""Properties that hold for any bytes: a reader gives something sound, or one sentence.

`VLAD_FUZZ=100000 pytest tests/security/test_fuzz.py` tries so many files of each kind, new ones
every time.
"""

import io
import json
import os
import random
import warnings

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vlad.adapters.cards import read_card
from vlad.calibration import from_normals, load_calibration, save_calibration
from vlad.datasets.manifest import read_manifest
from vlad.errors import ImageError, VladError
from vlad.images import read_image
from vlad.prompts import load_bank
from vlad.system.text import csv_line, csv_path, csv_text, path_of
from vlad.training.recipe import load_recipe

EXAMPLES = int(os.environ.get("VLAD_FUZZ", 0))
MAX_PIXELS = 100_000
fuzz = settings(
    max_examples=EXAMPLES or 120,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
NOISE = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
SAVES = {
    "png": {"format": "PNG"},
    "jpeg": {"format": "JPEG"},
    "progressive": {"format": "JPEG", "progressive": True},
    "bmp": {"format": "BMP"},
    "tiff": {"format": "TIFF"},
    "deflate": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    "webp": {"format": "WEBP"},
    "animation": {"format": "WEBP", "save_all": True, "append_images": [Image.new("L", (30, 24))]},
    "gif": {"format": "GIF"},
    "ppm": {"format": "PPM"},
}
BANK = """title = "t"
source = "s"
licence = "l"
templates = ["a photo of a {}."]
replace = { a = "b" }
[states]
normal = ["{}"]
anomalous = ["broken {}"]
[[overrides]]
categories = ["nut"]
states = { normal = ["fine {}"] }
"""
RECIPE = """head = "uniadet"
epochs = 2
batch_size = 4
[params]
layers = [0.5, 1.0]
[optimiser]
lr = 0.001
betas = [0.9, 0.99]
[losses]
map_focal = 1.0
"""
CARD = tomli_w.dumps(
    dict.fromkeys(("head", "backbone", "auxiliary", "licence", "source", "sha256"), "words")
    | {"figures": {"auroc": 0.9}}
)
MANIFEST = "path,category,label,mask,split,severity\na.png,nut,1,m/a.png,test,2\nb.png,,0,,train,\n"


def saved(options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(NOISE).save(file, **options)
    return file.getvalue()


def damaged(whole: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """The file after a few of the things that happen to files, by accident or on purpose."""
    data = bytearray(whole)
    for _ in range(draw.randint(1, 6)):
        at, length = draw.randrange(len(data) + 1), draw.choice((1, 1, 2, 4, 8, 60))
        match draw.randrange(6):
            case 0:
                data[at : at + length] = draw.randbytes(length)
            case 1:
                data[at : at + length] = draw.choice((b"\xff", b"\0", b"\x7f")) * length
            case 2:
                del data[at : at + length]
            case 3:
                other = draw.choice(others)
                start = draw.randrange(len(other))
                data[at:at] = other[start : start + 4 * length]
            case 4:
                data[at : at + length] = data[at : at + length] * 2
            case 5:
                del data[max(at, 1) :]
        data = data or bytearray(b"\0")
    return bytes(data)


def one_sentence(error: Exception, path) -> None:
    text = str(error)
    assert text.endswith("."), text
    assert "\n" not in text and len(text) < 1000 + len(str(path)), text


@pytest.mark.parametrize("kind", SAVES)
@fuzz
@given(seed=st.integers(0, 2**63))
def test_an_image_is_rgb_within_the_limit_or_an_image_error(kind, seed, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"fuzz-{kind}"
    everything = [saved(options) for options in SAVES.values()]
    whole = everything[list(SAVES).index(kind)]
    path.write_bytes(damaged(whole, random.Random(seed), everything))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = read_image(path, max_pixels=MAX_PIXELS)
        except ImageError as error:
            one_sentence(error, path)
            assert str(path) in str(error)
        else:
            assert image.mode == "RGB" and image.width * image.height <= MAX_PIXELS


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("bank", BANK, lambda path: load_bank(path).expand("nut")),
        ("recipe", RECIPE, load_recipe),
        ("card", CARD, read_card),
        ("manifest", MANIFEST, read_manifest),
    ],
)
@fuzz
@given(seed=st.integers(0, 2**63))
def test_a_text_file_is_read_or_refused(name, text, read, seed, tmp_path_factory):
    suffix = ".csv" if name == "manifest" else ".toml"
    path = tmp_path_factory.getbasetemp() / f"fuzz-{name}{suffix}"
    others = [BANK.encode(), RECIPE.encode(), b'"""', b"[[a.b]]", b"{a=", b"0xffff" * 9, b"inf,-0"]
    path.write_bytes(damaged(text.encode(), random.Random(seed), others))
    try:
        read(path)
    except VladError as error:
        one_sentence(error, path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@fuzz
@given(key=st.integers(0, 9), deep=st.booleans(), value=VALUES)
def test_a_calibration_decides_or_is_refused(key, deep, value, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "fuzz-calibration.json"
    save_calibration(from_normals({"memory": np.arange(40.0)}), path)
    content = json.loads(path.read_text())
    name = list(content)[key]
    if deep and isinstance(content[name], dict):
        content[name]["memory"] = value
    else:
        content[name] = value
    path.write_text(json.dumps(content))
    try:
        found = load_calibration(path)
    except VladError as error:
        one_sentence(error, path)
    else:
        verdicts = found.decide({"memory": np.array([1.0, 100.0])})["memory"]
        assert verdicts.anomalous.dtype == bool


@fuzz
@given(st.text(st.sampled_from("=+-@'./;\t\r\n|a\",＝"), max_size=8))
def test_no_cell_begins_as_a_formula_in_any_country(text):
    path = text if not text.startswith("./") else text[2:]
    assert path_of(csv_path(path)) == path
    assert csv_text(csv_text(text)) == csv_text(text)
    for cell in (csv_path(path), csv_text(text)):
        assert not cell.startswith(tuple("=+-@\t\r\n＝＋－＠"))
    parts = csv_text(text).replace("\t", ";").replace("\n", ";").replace("\r", ";").split(";")
    assert not any(part.startswith(tuple("=+-@＝")) for part in parts)
    # what a country's separator would part stands between quotes
    assert not set(text) & set(',;\t"\r\n') or csv_line([text]).startswith('"')
