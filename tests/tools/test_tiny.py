"""The built-in backbone: its drawing code, its captions and the training of its words."""

import numpy as np
import pytest
import torch
from tiny import captions, train
from tiny.features import Features
from tiny.train import Learner, Recipe, export, initialise

from vlad.backbones.tiny.load import read_weights
from vlad.backbones.tiny.model import Tiny


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
    from tiny.images import RealImages
    from tiny.train import vocabulary

    text = " ".join(vocabulary(RealImages([]))[1])
    assert "hazel" not in text and "bottle" not in text


RECIPE = Recipe(steps=10, batch=2, warm=1, rate=1e-3)


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = Tiny().to_empty(device="cpu")
    for part in made.cnn.parameters():
        torch.nn.init.normal_(part, std=0.1)
    made.cnn.requires_grad_(False)
    initialise(made)
    return made


@pytest.fixture
def drawn(model):
    """Pairs of noise in which damaged patches are different."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(4, 2, 256, model.features, generator=generator)
    labels = torch.zeros(4, 256)
    labels[:, 100:120] = 1
    tokens[:, 0, 100:120] += 3
    names = [["a photo of a red bolt.", "a photo of a blue nut."]] * 4
    return Features(torch.nn.functional.normalize(tokens, dim=-1).half(), labels, names)


NOUNS, WORDS = (
    ["bolt", "nut"],
    [*captions.NORMAL, *captions.ABNORMAL, "red blue bolt nut"],
)


def trained(model, drawn):
    torch.manual_seed(0)
    return list(train.train(model, drawn, NOUNS, WORDS, RECIPE))[-1][1]


def test_steps_lower_the_loss_and_leave_the_network_alone(model, drawn):
    def loss():
        learner = Learner(model, WORDS, RECIPE)
        torch.manual_seed(3)
        tokens, labels = drawn.tokens.float().transpose(0, 1).flatten(0, 1), drawn.labels
        labels = torch.cat([labels, torch.zeros_like(labels)])
        names = [said[0] for said in drawn.names] * 2
        return learner.loss(np.random.default_rng(0), tokens, labels, names, NOUNS).item()

    before, network = loss(), {k: v.clone() for k, v in model.cnn.state_dict().items()}
    mean = trained(model, drawn)
    assert loss() < before
    assert all(torch.equal(v, network[k]) for k, v in model.cnn.state_dict().items())
    assert not any(name.startswith("cnn.") for name in mean)


def test_a_training_repeats_and_its_file_holds_the_mean(model, drawn, tmp_path):
    start = {name: x.clone() for name, x in model.state_dict().items()}
    first = trained(model, drawn)
    export(model, first, tmp_path / "tiny.safetensors")
    model.load_state_dict(start)
    second = trained(model, drawn)
    assert all(torch.equal(x, second[name]) for name, x in first.items())
    read = read_weights(tmp_path / "tiny.safetensors")
    assert read.keys() == model.state_dict().keys()
    for name, x in first.items():
        torch.testing.assert_close(read[name], x, rtol=1e-3, atol=1e-4)
    table = read["token_embedding.weight"]
    assert 0 < table.any(dim=1).sum() < 100
