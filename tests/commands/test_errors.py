"""What goes wrong on the command line ends in one line on stderr and exit code 2."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vlad.cli import main

TINY = ["--backbone", "vlad-tiny"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to be in: two images, one that is none, and files that are not what they seem."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parts").mkdir()
    (tmp_path / "empty").mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(tmp_path / "parts" / f"{name}.png")
    (tmp_path / "words.toml").write_text("this is = no TOML = at all")
    (tmp_path / "words.pt").write_text("no weights")
    (tmp_path / "words.json").write_text("[]")
    (tmp_path / "empty.csv").write_text("path,label\n")
    (tmp_path / "keys.toml").write_text("speed = 1")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("of somebody else")
    return tmp_path


CASES = [
    # (arguments, what the line names)
    ("--nonsense", "--nonsense"),
    ("nonsense", "nonsense"),
    ("score", "PATH"),
    ("score parts", "--out"),
    ("score parts --out o --k-shot many", "many"),
    ("score parts --out o --dtype float8", "float8"),
    ("score nowhere --out o", "nowhere"),
    ("score nowhere/*.png --out o", "nowhere/*.png"),
    ("score empty --out o", "empty"),
    ("score empty.csv --out o", "empty.csv"),
    ("score empty --out o --head clip_ad --category nut", "empty"),
    ("score parts --out o --head clip_ad", "--category"),
    ("score parts --out o --head anovl", "--category"),
    ("score parts --out o --head tipsomaly", "--category"),
    ("score parts --out o --head clip_ad --category nut --param clip_ad.text=pca", "text"),
    ("score parts --out o --head anovl --category nut --param anovl.seed=-1", "seed"),
    ("score parts --out parts/a.png", "parts/a.png"),
    ("score parts --out parts", "parts"),
    ("score parts --out o --resume --overwrite", "--resume"),
    ("score parts --out o --head nonsense", "nonsense"),
    ("score parts --out o --head ,", "--head"),
    ("score parts --out o --head memory", "memory"),
    ("score parts --out o --head memory --k-shot 2", "--normal"),
    ("score parts --out o --head memory --normal parts --k-shot 3", "3"),
    ("score parts --out o --head musc --normal parts", "musc"),
    ("score parts --out o --head winclip --param winclip", "winclip"),
    ("score parts --out o --head winclip --param winclip.speed=1", "speed"),
    ("score parts --out o --head memory --normal parts --param memory.top=3", "top"),
    ("score parts --out o --head winclip --category a/b", "a/b"),
    ("score parts --out o --head winclip", "--category"),
    ("score parts --out o --head winclip --category nut --bank nonsense", "nonsense"),
    ("score parts --out o --head winclip --category nut --bank words.toml", "words.toml"),
    ("score parts --out o --head uniadet --category nut", "--adapter"),
    ("score parts --out o --head uniadet --adapter nonsense", "nonsense"),
    ("score parts --out o --head winclip --adapter vlad-tiny-uniadet", "vlad-tiny-uniadet"),
    ("score parts --out o --head musc --tile 5", "5"),
    ("score parts --out o --head musc --overlap 0.1", "--overlap"),
    ("score parts --out o --head musc --tile 64 --overlap 2", "2"),
    ("score parts --out o --head musc --image-size 50", "50"),
    ("score parts --out o --head musc --device nonsense", "nonsense"),
    ("score parts --out o --head musc --threshold high", "high"),
    ("score parts --out o --head musc --threshold auto", "--threshold"),
    ("score parts --out o --head musc --confidence 0.9", "--confidence"),
    ("score parts --out o --head musc --threshold auto --fuse", "--fuse"),
    ("score parts --out o --head musc,winclip --category nut --threshold 1", "--threshold"),
    ("score parts --out o --head musc --threshold 1 --confidence 0.9", "--confidence"),
    ("score parts --out o --head musc --calibration words.json", "words.json"),
    ("score parts --out o --head musc --calibration words.json --threshold 1", "--calibration"),
    ("score parts --out o --head musc --backbone words.pt", "words.pt"),
    ("score parts --out o --head musc --backbone ViT-B-16=nowhere.pt", "nowhere.pt"),
    ("score parts --out o --head musc --backbone ViT-B-16/nonsense", "nonsense"),
    ("score parts --out o --head musc --backbone empty", "empty"),
    ("score parts --out o --head musc --backbone ./nonsense", "nonsense"),
    ("score parts --out o --head musc --backbone ViT-B-16/openai", "ViT-B-16/openai"),
    ("calibrate nowhere --out c.json", "nowhere"),
    ("calibrate nowhere --out full", "full"),
    ("calibrate nowhere --out c.json --target best", "best"),
    ("eval nowhere", "nowhere"),
    ("eval parts", "parts"),
    ("eval parts --layout nonsense", "nonsense"),
    ("eval parts --layout mvtec", "parts"),
    ("eval parts --layout visa", "parts"),
    ("eval parts --layout real_iad", "parts"),
    ("eval parts --layout kolektorsdd", "parts"),
    ("bench parts --out o --seeds x", "--seeds"),
    ("bench parts --out o --config words.toml", "words.toml"),
    ("bench parts --out o --config keys.toml", "speed"),
    ("bench parts --out o --config nowhere.toml", "nowhere.toml"),
    ("train nonsense --licence MIT --out o", "nonsense"),
    ("train words.toml --licence MIT --out o", "words.toml"),
    ("train keys.toml --licence MIT --out o", "speed"),
    ("train uniadet --licence MIT --out full", "full"),
    ("train uniadet --licence MIT --out o --resume", "--resume"),
    ("train uniadet --licence MIT --out o --device cpu", "--data"),
    ("synth nowhere --out o", "nowhere"),
    ("synth parts --out full", "full"),
    ("synth parts --out o --generator nonsense", "nonsense"),
    ("synth parts --out o --backbone vlad-tiny", "--backbone"),
    ("prompts show nonsense", "nonsense"),
    ("prompts show winclip --category //", "//"),
    ("prompts check words.toml", "words.toml"),
    ("prompts check nowhere.toml", "nowhere.toml"),
    ("adapters show nonsense", "nonsense"),
    ("adapters verify nonsense", "nonsense"),
    ("adapters export nonsense --out o.pth", "nonsense"),
    ("adapters import words.pt --head nonsense", "nonsense"),
    ("adapters import nowhere.pth --head adaclip", "nowhere.pth"),
    ("adapters import words.pt --head adaclip", "words.pt"),
    ("adapters import words.pt --head adaclip --auxiliary visa --name a/b", "a/b"),
    ("adapters import words.pt --head adaclip --auxiliary visa", "words.pt"),
    ("completion powershell", "powershell"),
]


@pytest.mark.parametrize(("args", "named"), CASES, ids=[case[0] for case in CASES])
def test_one_line_and_exit_code_2(args, named, place, capfd):
    words = args.split()
    if words[0] == "score" and "--out" in words and "--backbone" not in words:
        words += TINY
    with pytest.raises(SystemExit) as ended:
        main(words, prog_name="vlad")
    stdout, stderr = capfd.readouterr()
    assert ended.value.code == 2
    assert stdout == ""
    (line,) = stderr.splitlines()
    assert line.startswith("Error: ")
    assert line.endswith(".")
    assert named in line
    # the remedy stands behind what is wrong
    assert "; " in line or ": " in line.removeprefix("Error: ")


def test_the_program_says_the_same(place, run_env):
    command = [sys.executable, "-m", "vlad", "score", "nowhere", "--out", "o"]
    done = subprocess.run(command, env=run_env, cwd=place, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: there is no file or folder nowhere; check the path.\n"


@pytest.mark.parametrize("args", [[], ["prompts"], ["adapters"]])
def test_a_group_alone_shows_its_help(args, capfd):
    with pytest.raises(SystemExit):
        main(args, prog_name="vlad")
    shown = "".join(capfd.readouterr())
    assert shown.startswith("Usage: vlad")
    assert "Error" not in shown
