"""WinCLIP gives the numbers of both public implementations, whatever the batch."""

import numpy as np
import pytest
import torch

from vlad.backbones.windows import window_patches
from vlad.errors import HeadError
from vlad.heads import protocol, titled
from vlad.heads.winclip import WinCLIP, spread
from vlad.maths.maps import harmonic_mean
from vlad.scoring.panel import Panel
from vlad.types import Features, TextFeatures

BANK = "winclip_anomalib"  # the sentences both implementations embed
CASES = {
    "anomalib": {"patch_output": "ln_post", "resize": "float"},
    "accurate": {"patch_output": "raw", "resize": "pil"},
}


@pytest.fixture(scope="module")
def backbone(parity_backbone):
    return parity_backbone("tinyb16_240")


@pytest.mark.parametrize("k_shot", [0, 2])
@pytest.mark.parametrize("implementation", CASES)
def test_reference_maps_and_scores(
    parity, backbone, parity_image, assert_parity, implementation, k_shot
):
    expected = parity.case(f"winclip_{implementation}_tinyb16_240_k{k_shot}")
    maps, scores = [], []
    paths = [str(path) for path in expected["image_path"]]
    # Accurate-WinCLIP draws its references with replacement and says which it drew
    both = [f"{c}/train/good/{i:03d}.png" for c in ("bottle", "metal_nut") for i in range(2)]
    references = expected.get("ref_path", both)
    for category in dict.fromkeys(path.split("/")[-4] for path in paths):
        panel = Panel(backbone, {"winclip": WinCLIP(**CASES[implementation])}, bank=BANK)
        if k_shot:
            panel.fit(parity_image(path) for path in references if category in path)
        images = [parity_image(path) for path in paths if path.split("/")[-4] == category]
        found = panel.score([panel.prepare(image) for image in images], category)["winclip"]
        maps.append(found.anomaly_map.numpy())
        scores.append(found.image_score.numpy())
    # Accurate-WinCLIP adds the text and reference maps where anomalib averages them
    factor = 2 if (implementation, k_shot) == ("accurate", 2) else 1
    assert_parity((np.concatenate(scores), factor * np.concatenate(maps)), expected)


def test_spread_is_the_harmonic_mean_over_the_covering_windows():
    scores = torch.rand(2, 3 * 4, generator=torch.Generator().manual_seed(0)) + 0.1
    found = spread(scores, (4, 5), 2)
    for row in range(4):
        for column in range(5):
            covering = [
                scores[:, top * 4 + left]
                for top in (row - 1, row)
                for left in (column - 1, column)
                if 0 <= top < 3 and 0 <= left < 4
            ]
            slow = len(covering) / sum(1 / value for value in covering)
            torch.testing.assert_close(found[:, row, column], slow)


def test_harmonic_mean_of_a_zero_is_zero():
    assert harmonic_mean(torch.tensor([[0.0, 0.5], [0.5, 0.5]])).tolist() == [0.0, 0.5]


def test_without_text_it_says_what_is_missing():
    with pytest.raises(HeadError, match="category"):
        WinCLIP().score(None)


def test_approximate_windows_are_means_of_patches_and_marked(small_backbone, drawn):
    head = WinCLIP(approximate=True)
    assert head.spec(small_backbone.info).windows == ()
    random = torch.Generator().manual_seed(0)
    patches = torch.randn(2, 12, 8, generator=random)
    means = {
        side: torch.stack([patches[:, w].mean(dim=1) for w in window_patches((3, 4), side)], dim=1)
        for side in (2, 3)
    }
    image, *sides = torch.randn(3, 2, 8, generator=random)
    given = {"image": image, "patches": {4: patches}, "grid": (3, 4), "size": (48, 64)}
    text = TextFeatures(*sides)
    found = head.score(Features(**given), text)
    slow = WinCLIP().score(Features(**given, windows=means), text)
    torch.testing.assert_close(found.anomaly_map, slow.anomaly_map)
    assert titled("winclip", protocol(head)) == "winclip (approximate)"
    panel = Panel(small_backbone, {"winclip": head}, bank=BANK).fit(drawn[:2])
    scores = panel.score([panel.prepare(drawn[4])], "plate")["winclip"]
    assert protocol(head) == "approximate, few-shot"
    assert 0 <= float(scores.image_score) <= 1
