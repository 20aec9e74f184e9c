"""Files made to harm: each is refused before it costs anything, and nothing in it is run."""

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from vlad.adapters import read_adapter
from vlad.adapters.checkpoint import read_checkpoint
from vlad.backbones import load_backbone
from vlad.cli import main
from vlad.datasets import list_samples
from vlad.detector import Detector
from vlad.errors import AdapterError, BackboneError, ImageError, InputError, PromptError
from vlad.images import read_image
from vlad.prompts import load_bank
from vlad.results.folder import RunFolder
from vlad.results.rows import Row

BANK = 'title = "t"\nsource = "s"\nlicence = "l"\n'
WORDS = 'templates = ["a {}."]\n[states]\nnormal = ["{}"]\nanomalous = ["bad {}"]\n'


def tiff(width, height, tags, data=b""):
    """A grey TIFF of one page; a tag is number -> values as LONGs."""
    tags = {256: [width], 257: [height], 258: [8], 259: [1], 262: [1], 277: [1], **tags}
    table, more, start = b"", b"", 14 + 12 * len(tags)
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        place = packed if len(values) == 1 else struct.pack("<I", start + len(more))
        table += struct.pack("<HHI", tag, 4, len(values)) + place
        more += packed if len(values) > 1 else b""
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + table + bytes(4) + more + data


def jpeg_of_many_scans(count):
    file = io.BytesIO()
    Image.new("L", (64, 64)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xda", first + 2)
    third = data.index(b"\xff\xda", second + 2)
    return data[:second] + data[second:third] * count + b"\xff\xd9"


def refused(tmp_path, content, says, **options):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=says):
        read_image(tmp_path / "a.png", **options)


def test_a_tiff_of_a_million_strips(tmp_path):
    content = tiff(1000, 1000, {278: [999], 273: [0] * 100_000, 279: [10**6]})
    refused(tmp_path, content, "100,000 parts for 1000×1000")


def test_strips_that_cover_the_image_many_times(tmp_path):
    tags = {278: [63], 279: [4096]}
    content = tiff(64, 64, {**tags, 273: [100] * 100}, bytes(9000))
    refused(tmp_path, content, "cover it many times over")


def test_a_tile_far_larger_than_its_image(tmp_path):
    tile = {259: [8], 322: [40_000], 323: [40_000], 324: [8], 325: [8]}
    refused(tmp_path, tiff(64, 64, tile), "tiles is over the pixel limit")


def test_a_tiff_whose_pages_run_in_a_circle_is_read(tmp_path):
    content = bytearray(tiff(64, 64, {278: [64], 273: [500], 279: [4096]}, bytes(5000)))
    struct.pack_into("<I", content, 10 + 12 * 9, 8)  # the next page is the first
    (tmp_path / "a.tif").write_bytes(content)
    assert read_image(tmp_path / "a.tif").size == (64, 64)


def test_a_jpeg_of_many_scans(tmp_path):
    refused(tmp_path, jpeg_of_many_scans(600), "more than 500 scans")
    (tmp_path / "b.jpg").write_bytes(jpeg_of_many_scans(20))
    assert read_image(tmp_path / "b.jpg").size == (64, 64)


@pytest.mark.parametrize("kind", [b"P1", b"P2", b"P3"])
def test_a_plain_ppm_of_many_comments(tmp_path, kind):
    head, values = kind + b" 9 9 " + b"1 " * (kind != b"P1"), b"1 " * 243
    refused(tmp_path, head + b"#\n" * 1_000_000 + values, "more than 1,000 comments")
    (tmp_path / "b.ppm").write_bytes(head + b"# a\n" * 900 + values)
    assert read_image(tmp_path / "b.ppm").size == (9, 9)


@pytest.mark.parametrize("start", [b"GIF89a\x40\0\x40\0\0\0\0", b"RIFF\xff\xff\xff\xbfWEBPVP8 "])
def test_a_file_of_a_terabyte_that_holds_nothing(tmp_path, start):
    with open(tmp_path / "a.png", "wb") as file:
        file.write(start)
        try:
            file.truncate(10**12)
        except OSError:
            pytest.skip("no sparse files here")
    with pytest.raises(ImageError, match="1,000,000,000,000 bytes are over"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("chunk", [b"zTXtk\0\0", b"iTXtk\0\1\0\0\0", b"iCCPk\0\0"])
def test_text_in_a_png_that_swells(tmp_path, chunk):
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    data, body = file.getvalue(), chunk + zlib.compress(bytes(20_000_000))
    bomb = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    refused(tmp_path, data[:33] + bomb + data[33:], "too large")


@pytest.mark.parametrize(
    "content",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<!doctype html><script>alert(1)</script>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n",
        b"8BPS\0\1\0\0\0\0\0\0\0\3\0\0\0\x40",
        b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0\0\0\0\0",
    ],
)
def test_other_formats_renamed_never_reach_their_reader(tmp_path, content, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)  # Pillow would call Ghostscript
    refused(tmp_path, content, "not a supported image")


def test_folders_nested_deeper_than_python_recurses(tmp_path):
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1100):
            os.mkdir("d")
            os.chdir("d")
        Image.new("RGB", (8, 8)).save("a.png")
        os.chdir(tmp_path)
        assert len(list_samples(["."])) == 1
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # pytest would recurse


def test_ids_of_the_longest_names_leave_room_for_suffixes(tmp_path):
    for suffix in (".png", ".jpg"):
        (tmp_path / ("ä" * 125 + "x" + suffix)).touch()
    samples = list_samples([tmp_path])
    assert len({s.id for s in samples}) == 2
    assert all(len(os.fsencode(f"{s.id}.png")) <= 255 for s in samples)


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@a", "\ta", "＝1", "a;=1.png"])
def test_formulas_in_scores(tmp_path, name):
    run = RunFolder(tmp_path, {"memory": (0, 1)}, {}).create()
    run.append([Row(name, {"memory": -0.5}), Row("x", error=f"cannot read a;{name}.")])
    line = run.scores_csv.read_text().splitlines()[1]
    assert line.lstrip('"')[0] not in "=+-@\t＝" and ",-0.5," in line
    again = RunFolder(tmp_path, {"memory": (0, 1)}, {}).resume()
    assert again.rows.scored(name) and again.rows[name].scores == {"memory": -0.5}
    assert RunFolder.open(tmp_path).rows == again.rows
    assert ";=" not in run.scores_csv.read_text().split("cannot read")[1]


def test_names_cannot_command_the_terminal(tmp_path):
    bank = tmp_path / "a.toml"
    bank.write_text(BANK.replace('"t"', '"\\u001b]0;mine\\u0007\\u202e"') + WORDS)
    done = CliRunner().invoke(main, ["prompts", "show", str(bank)])
    assert done.exit_code == 0 and r"\x1b]0;mine\x07\u202e" in done.output
    done = CliRunner().invoke(main, ["score", "\x1b[2Jno.png", "--out", str(tmp_path / "o")])
    assert done.exit_code == 2 and "\x1b" not in done.output and r"\x1b[2Jno.png" in done.output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = " + "[" * 100_000, "nested too deeply"),
        (".".join("a" * 20_000) + " = 1", "more than 16 dots"),
        ('"a"' + '."b"' * 20_000 + " = 1", "more than 16 dots"),
        (BANK + WORDS + "[counts]\nnormal = 0x" + "f" * 9000, "beyond 64 bits"),
        ("#" * 2**20 + "\n", "bytes"),
        (BANK + WORDS + "[[overrides]]\nkind = 'object'\n" * 1001, "more than 1000"),
        (BANK + WORDS.replace("bad", "b" * 1001), "over 1000 characters"),
    ],
)
def test_toml_bombs(tmp_path, text, says):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(PromptError, match=says):
        load_bank(tmp_path / "a.toml")


def test_sentences_that_multiply(tmp_path):
    many = ", ".join(f'"{i} {{}}"' for i in range(300))
    text = BANK + WORDS.replace('"a {}."', many).replace('"{}"', many)
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(PromptError, match="90,000 normal sentences"):
        load_bank(tmp_path / "a.toml")
    laughs = "".join(f'"{chr(97 + i)}" = "{chr(98 + i) * 90}"\n' for i in range(20))
    (tmp_path / "a.toml").write_text(BANK + WORDS + "[replace]\n" + laughs)
    with pytest.raises(PromptError, match="longer than 100"):
        load_bank(tmp_path / "a.toml").expand("a")


class Writes(torch.nn.Module):
    """A module whose program writes a file when the archive is loaded."""

    def __init__(self):
        super().__init__()
        self.x = torch.zeros(1)

    def forward(self, x: torch.Tensor):
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return (self.x, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        self.x = torch.from_file("TRACE", True, 10)
        self.training = state[1]


@pytest.mark.filterwarnings("ignore")
def test_no_program_of_a_torchscript_archive_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.jit.script(Writes()).save("evil.pt")
    with pytest.raises(BackboneError, match="has no CLIP"):
        load_backbone("evil.pt")
    assert not Path("TRACE").exists()
    torch.jit.load("evil.pt")
    assert Path("TRACE").exists(), "the archive would have done it"


def test_a_checkpoint_that_swells(small_backbone, tmp_path):
    torch.save({"x": torch.zeros(10**6)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    with pytest.raises(BackboneError, match="compressed or overlap"):
        load_backbone(str(tmp_path / "bomb.pt"))
    with pytest.raises(AdapterError, match="compressed or overlap"):
        read_checkpoint(tmp_path / "bomb.pt", "april_gan", small_backbone.info)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers(small_file, tmp_path, value):
    state = load_file(small_file)
    state["visual.proj"][0, 0] = value
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(BackboneError, match=r"visual\.proj .* NaN or infinity"):
        load_backbone(str(tmp_path / "a.safetensors"))


def test_shapes_that_lie_and_backbones_without_end(small_clip, small_file, small_config, tmp_path):
    state = small_clip.state_dict()
    state["visual.proj"] = torch.zeros(1).half().expand(10**7, 10**6)  # 20 TB if it were copied
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(BackboneError, match="more values than it has"):
        load_backbone(str(tmp_path / "a.pt"))
    (tmp_path / "b.safetensors").write_bytes(small_file.read_bytes())
    vision = {**small_config["vision_cfg"], "layers": 10**9}
    (tmp_path / "b.json").write_text(json.dumps({**small_config, "vision_cfg": vision}))
    with pytest.raises(BackboneError, match="1e\\+09 layers"):
        load_backbone(str(tmp_path / "b.safetensors"))


@pytest.mark.parametrize(
    "header",
    [
        (2**63, b"{}"),
        (50, json.dumps({"x": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}).encode()),
        (2, b"{}"),
    ],
)
def test_safetensors_with_headers_that_lie(tmp_path, header):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", header[0]) + header[1])
    with pytest.raises(AdapterError, match="not a vlad adapter"):
        read_adapter(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"runtime": ["torch"]}, "the runtime"),
        ({"device": "x" * 5000}, "the device"),
        ({"head": ["memory"]}, "the head"),
        ({"max_pixels": 10**30}, "max_pixels"),
        ({"dtype": "__class__"}, "dtype"),
        ({"head_params": "x"}, "head_params"),
        ({"overlap": 1e9}, "overlap"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_detector_with_impossible_settings(tmp_path, change, says):
    save_file({"1": torch.zeros(2, 2)}, tmp_path / "memory.safetensors")
    (tmp_path / "detector.json").write_text(json.dumps({"head": "memory", **change}))
    with pytest.raises(InputError, match=says):
        Detector.load(tmp_path)


def test_a_detector_nested_without_end_or_of_no_numbers(tmp_path):
    save_file({"1": torch.full((2, 2), torch.nan)}, tmp_path / "memory.safetensors")
    for text, says in (("[" * 100_000, "nested too deeply"), ('{"head": "memory"}', "NaN or inf")):
        (tmp_path / "detector.json").write_text(text)
        with pytest.raises(InputError, match=says):
            Detector.load(tmp_path)


def test_code_beside_a_transformers_model_is_never_asked_about(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", None)
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "code.Mine"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')")
    with pytest.raises(BackboneError):
        load_backbone(str(tmp_path))
    assert not (tmp_path / "trace").exists()


def test_masks_in_a_folder_of_several_sizes_stop_early(tmp_path):
    from vlad.images import read_mask

    for i, size in enumerate([(40, 50), (50, 40)]):
        Image.fromarray(np.ones(size, bool)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_text("never read")
    with pytest.raises(ImageError, match="of one size"):
        read_mask(tmp_path)


MEASURE = """import sys
from vlad.images import read_image
def peak(): return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
read_image(sys.argv[1]); before = peak(); read_image(sys.argv[2]); print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("L", {"format": "PNG"}),
        ("RGBA", {"format": "PNG"}),
        ("RGB", {"format": "JPEG", "progressive": True}),
        ("CMYK", {"format": "JPEG", "progressive": True}),
        ("RGB", {"format": "WEBP"}),
    ],
)
def test_memory_of_an_image_stays_below_20_bytes_a_pixel(tmp_path, mode, options):
    side = 2500
    for name, size in (("small", 64), ("large", side)):
        Image.new("RGB", (size, size), "grey").convert(mode).save(tmp_path / name, **options)
    command = [sys.executable, "-c", MEASURE, tmp_path / "small", tmp_path / "large"]
    grown = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert 0 < grown * 1024 < 20 * side**2
