"""What users import is typed: their programs pass `mypy --strict`, and their typos do not."""

from pathlib import Path

import pytest
from mypy import api

import vlad

ROOT = Path(__file__).parent.parent
PASSES = f"""
import io
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from vlad import {", ".join(vlad.__all__)}
from vlad.images import ImageLike, as_image, read_image, read_mask

def lowest(folder: str) -> float:
    detector: Detector = load("memory", backbone="vlad-tiny", layers=(1, 3), batch_size=4)
    scores: ImageScores = detector.fit(folder).score([torch.zeros(3, 9, 9), b"", io.BytesIO()])
    maps: list[np.ndarray] = scores.at([Image.new("RGB", (9, 9))])
    scores.overlay("photo.png").save("heat.png")
    same: np.ndarray = scores.at("photo.png")
    detector.calibrate(folder, false_alarms=0.1)
    verdicts: Verdicts = detector.predict(np.zeros((2, 9, 9, 3)))
    kept: Detector = Detector.load(detector.save("saved"))
    one: ScoredImage = next(kept.stream(folder))
    seen: Features = kept.partial_fit(folder).features(one.image if one.error else folder)
    print(seen.grid, kept.head, __version__, maps, same)
    print(load_bank("winclip").name, load_backbone().info.depth)
    return float(scores.image_score[verdicts.anomalous].min())

def opened(images: Iterator[ImageLike]) -> list[Image.Image]:
    return [as_image(image, bits=12) for image in images]
"""
FAILS = {
    'vlad.loaad("memory")': 'has no attribute "loaad"',
    'vlad.load("memory").scroe("photo.png")': 'has no attribute "scroe"',
    'vlad.load("memory").score("photo.png").image_scores': 'has no attribute "image_scores"',
    "vlad.load(5)": 'incompatible type "int"',
    "vlad.load().score(5)": 'incompatible type "int"',
    'vlad.Detector(batch_size="8")': 'incompatible type "str"',
    'vlad.load_bank("winclip").expnad("nut")': 'has no attribute "expnad"',
}


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, list[str]]:
    """What mypy says of a user's programs, file by file."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "passes.py").write_text(PASSES)
    (folder / "fails.py").write_text("import vlad\n" + "\n".join(FAILS) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MYPYPATH", str(ROOT))
        options = ["--strict", "--follow-imports=silent", "--config-file="]
        files = [str(folder / "passes.py"), str(folder / "fails.py")]
        found, errors, _ = api.run([*options, f"--cache-dir={folder / 'cache'}", *files])
    assert not errors and "Found 7 errors" in found, found
    lines = found.splitlines()
    return {name: [x for x in lines if f"{name}.py:" in x] for name in ("passes", "fails")}


def test_a_user_program_passes(said):
    assert said["passes"] == []


@pytest.mark.parametrize(("line", "words"), FAILS.items())
def test_a_mistake_is_found(said, line, words):
    place = f"fails.py:{list(FAILS).index(line) + 2}: error: "
    assert [x for x in said["fails"] if place in x and words in x]
