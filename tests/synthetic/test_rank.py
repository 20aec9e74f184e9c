"""Ranking generators by what the built-in backbone sees."""

import numpy as np
from PIL import Image

from vlad.backbones import load_backbone
from vlad.datasets.folder import list_images
from vlad.evaluation.synthetic import rank
from vlad.synthetic import SyntheticSet


def test_a_stain_is_of_more_use_than_no_change_and_than_noise(normals, tmp_path):
    references, held_out = (
        [sample.path for sample in part]
        for part in (list_images(normals)[:8], list_images(normals)[8:])
    )
    made = SyntheticSet(list_images(held_out), ["stain"], share=1)
    rng = np.random.default_rng(0)
    groups = {"stain": [], "noise": [], "unchanged": held_out}
    for i in range(4):
        noise = Image.fromarray(rng.integers(0, 256, (72, 72, 3), dtype=np.uint8))
        for name, image in (("stain", made.item(i).image), ("noise", noise)):
            groups[name].append(tmp_path / f"{name}{i}.png")
            image.save(groups[name][-1])
    found = rank(load_backbone("vlad-tiny", "cpu"), references, held_out, groups)
    assert next(iter(found)) == "stain"
    mean = {name: posterior.expected.mean() for name, posterior in found.items()}
    assert mean["stain"] > mean["unchanged"] + 0.1
    # noise is told apart for sure, yet far from all that is normal
    assert mean["stain"] > mean["noise"] + 0.1
    assert found["noise"].probability.min() > 0.99 and found["noise"].evidence.max() < 0.1
