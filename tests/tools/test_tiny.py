"""The embedded backbone: its drawing code, its captions, its weights and its trainer."""

import json
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from tiny import captions

from vlad.backbones.tiny import CONFIG, WEIGHTS


def test_drawing_is_deterministic():
    from tiny.images import draw_category

    for index in (0, 3):
        first, second = draw_category(index, seed=5), draw_category(index, seed=5)
        assert np.array_equal(first[0], second[0])
        assert first[1:] == second[1:]
    assert not np.array_equal(draw_category(0, seed=5)[0], draw_category(1, seed=5)[0])


def test_every_texture_is_an_image():
    from vlad.synthetic.textures import TEXTURES

    for texture in TEXTURES:
        image = texture(np.random.default_rng(0), np.random.default_rng(1))
        assert image.shape == (256, 256, 3), texture.__name__
        assert np.isfinite(image).all(), texture.__name__


def test_masks_are_where_the_image_changed():
    from tiny.defects import add_defects
    from tiny.images import draw_category

    from vlad.synthetic.spots import VISIBLE

    block = draw_category(2, seed=5)[0].astype(np.float32) / 255
    clean, ground, cover = block[..., :3], block[..., 6:9], block[..., 9]
    marked = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        flawed, mask, word = add_defects(rng, clean, cover, ground, block[..., 3:6])
        change = np.abs(flawed - clean).max(2)
        assert np.array_equal(change > 0, mask)
        assert (change[mask] > VISIBLE).all()
        assert flawed.min() >= 0 and flawed.max() <= 1
        assert word
        marked += mask.any()
    assert marked >= 34


def test_captions_match_the_state():
    rng = np.random.default_rng(0)
    normal, abnormal = captions.sides(rng, 200, ["bolt"])
    flaws = {"flaw", "flaws", "defect", "defects", "damage"}
    bad = {s.split()[0] for s in captions.ABNORMAL + captions.DETAILS if s[0] != "{"}
    for sentence in normal:
        words = set(sentence.replace("bad photo", "photo").rstrip(".").split())
        assert not bad & words, sentence
        assert not flaws & words or {"without", "no"} & words, sentence
    for sentence in abnormal:
        words = set(sentence.replace("bad photo", "photo").rstrip(".").split())
        assert bad & words or {"with", "bad"} & words, sentence
        assert not {"without", "no", "flawless"} & words, sentence
        assert "bolt" in words
    assert {t.format("bolt") for t in captions.TEMPLATES} & set(normal)


def test_held_out_things_are_not_named():
    from tiny.train import vocabulary

    text = " ".join(vocabulary()[1])
    assert "hazel" not in text and "bottle" not in text


def _shipped():
    from safetensors.torch import load_file

    return load_file(WEIGHTS), json.loads(CONFIG.read_text())


def test_weights_load_into_open_clip():
    state, config = _shipped()
    assert WEIGHTS.stat().st_size < 30e6
    assert all(torch.isfinite(v).all() for v in state.values())
    model = open_clip.CLIP(**config)
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=True)
    size = config["vision_cfg"]["image_size"]
    with torch.no_grad():
        image = model.eval().encode_image(torch.zeros(1, 3, size, size))
    assert image.shape == (1, config["embed_dim"])
    assert torch.isfinite(image).all()


def test_state_words_mean_something():
    from open_clip.tokenizer import SimpleTokenizer

    state, config = _shipped()
    model = open_clip.CLIP(**config)
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=True)
    sentences = [
        "a photo of a flawless {}.",
        "a photo of the perfect {}.",
        "a photo of a damaged {}.",
        "a photo of the {} with flaw.",
    ]
    with torch.no_grad():
        text = [
            model.eval().encode_text(
                SimpleTokenizer()([s.format(n) for s in sentences]), normalize=True
            )
            for n in ("bolt", "zebra")
        ]
    for a, b in ((text[0], text[1]), (text[1], text[1])):
        likeness = a @ b.T
        same = likeness[:2, :2].mean() + likeness[2:, 2:].mean()
        assert same > 2 * likeness[:2, 2:].mean() + 0.1


TINY = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 240,
        "layers": 5,
        "width": 192,
        "head_width": 64,
        "patch_size": 16,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}


@pytest.fixture
def small(tmp_path):
    from tiny.train import Recipe

    recipe = replace(
        Recipe(),
        **{
            "steps": 2,
            "blend": (1, 2),
            "categories": 3,
            "pairs": 2,
            "fresh": 1,
            "capacity": 4,
            "start": 3,
        },
        **{"rate": 1e-3, "side_rate": 1e-4, "warm": 1, "seed": 3},
    )
    return recipe, tmp_path


def test_a_step_lowers_the_loss(small):
    from tiny.data import Pairs, Replay
    from tiny.images import Pool
    from tiny.train import Learner, Trainer, vocabulary

    recipe, folder = small
    torch.manual_seed(0)
    nouns, words = vocabulary()
    trainer = Trainer(Learner(words, TINY), recipe)
    pool = Pool(folder, recipe.categories, recipe.seed, workers=1)
    batch = Replay(Pairs(pool, None, 3, 9), 0, 4, 3, 1, 2, workers=0).batch(0)

    def loss():
        parts = trainer.learner.losses(batch, np.random.default_rng(0), nouns)
        return sum(getattr(recipe, k) * v for k, v in parts.items()), parts

    before, parts = loss()
    trainer.update(parts)
    assert loss()[0] < before


def test_resume_is_bit_equal(small, monkeypatch):
    from tiny import train as module

    recipe, folder = small
    train, teach = module.train, module.teach_states
    monkeypatch.setattr(module, "teach_states", lambda *args: teach(*args, steps=2))
    settings = {"cache": folder, "workers": 0, "config": TINY}
    whole = train(folder / "whole", recipe, **settings)
    train(folder / "parts", recipe, **settings, until=1)
    parts = train(folder / "parts", recipe, **settings, resume=True)
    a, b = whole.learner.state_dict(), parts.learner.state_dict()
    assert parts.step == 2
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert (folder / "parts" / "vlad-tiny.safetensors").exists()
