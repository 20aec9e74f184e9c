"""Recipes: those that ship are as the authors train, and what is wrong is said by file and key."""

import warnings

import pytest

from vlad.errors import TrainingError
from vlad.heads import HEADS, head_maker
from vlad.heads.head import Trained
from vlad.training.recipe import load_recipe, recipe_names

GOOD = """
head = "uniadet"
epochs = 2
batch_size = 4
[optimiser]
lr = 0.01
[losses]
map_focal = 1.0
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        (tmp_path / "mine.toml").write_text(text)
        return tmp_path / "mine.toml"

    return write


def test_shipped_recipes_are_those_of_the_authors():
    learned = [name for name in HEADS if isinstance(head_maker(name)(), Trained)]
    assert recipe_names() == sorted(learned)
    found = {name: load_recipe(name) for name in recipe_names()}
    assert all(recipe.head == name for name, recipe in found.items())
    chosen = {
        name: (r.optimiser.name, r.optimiser.lr, r.optimiser.betas, r.batch_size, r.epochs)
        for name, r in found.items()
    }
    assert chosen["anomalyclip"] == ("adam", 1e-3, (0.5, 0.999), 8, 15)
    assert chosen["adaclip"] == ("adamw", 1e-2, (0.5, 0.999), 1, 5)
    assert chosen["april_gan"] == ("adam", 1e-3, (0.5, 0.999), 8, 3)
    assert chosen["adaptclip"] == ("adam", 1e-3, (0.5, 0.999), 8, 15)
    assert chosen["clip_ad"] == ("adam", 1e-4, (0.9, 0.999), 8, 5)
    assert chosen["sowa"] == ("adamw", 1e-3, (0.9, 0.999), 8, 1)
    assert found["sowa"].optimiser.weight_decay == 0.2
    assert {n: r.optimiser.plateau for n, r in found.items() if r.optimiser.plateau} == {"sowa": 5}
    assert {n: r.mask_above for n, r in found.items() if r.mask_above != 0.5} == {"sowa": 0}
    assert [name for name, recipe in found.items() if not recipe.shuffle] == ["clip_ad"]
    assert found["anomalyclip"].seed == 111
    assert found["adaclip"].mosaic == found["april_gan"].mosaic == 0.2


def test_what_is_not_said_has_a_default(write):
    recipe = load_recipe(write(GOOD))
    assert (recipe.name, recipe.seed, recipe.mosaic, recipe.image_size) == ("mine", 0, 0, None)
    assert load_recipe(write(GOOD), seed=7).seed == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("epochs = 2", "epoch = 2"), "epoch is not a key here"),
        (("epochs = 2", ""), "epochs is missing"),
        (("epochs = 2", "epochs = 2\nshuffle = 0"), "shuffle is 0; give true or false"),
        (("epochs = 2", "epochs = 0"), "epochs is 0; give a whole number from 1"),
        (("epochs = 2", "epochs = true"), "epochs is True"),
        (('"uniadet"', '"winclip"'), "head is 'winclip'; choose"),
        (("map_focal", "map_vocal"), "losses.map_vocal is not a key"),
        (("map_focal = 1.0", ""), "losses is empty"),
        (("map_focal = 1.0", "map_focal = 0"), "losses.map_focal is 0"),
        (("lr = 0.01", "lr = nan"), "optimiser.lr is nan"),
        (("lr = 0.01", "lr = 0.01\nbetas = [0.9, 1.0]"), "optimiser.betas"),
        (
            ("lr = 0.01", 'lr = 0.01\nname = "lion"'),
            "optimiser.name is 'lion'; choose adam or adamw or sgd",
        ),
        (("lr = 0.01", ""), "optimiser.lr is missing"),
        (("epochs = 2", "epochs = 2\nmosaic = 2"), "mosaic is 2"),
        (("[losses]", "[params]\nlayers = [0]\n[losses]"), r"params.layers is \[0\]"),
        (("[losses]", "[params]\ncontext = 3\n[losses]"), "params.context is not a key"),
        (("[losses]", "losses = 3\n[x]"), "losses"),
        (("[losses]", "[losses"), "is not a TOML file"),
    ],
)
def test_faults_name_file_and_key(write, change, message):
    with pytest.raises(TrainingError, match=message) as error:
        load_recipe(write(GOOD.replace(*change)))
    assert "mine.toml" in str(error.value)
    assert str(error.value).count("\n") == 0


def test_no_such_recipe(tmp_path):
    with pytest.raises(TrainingError, match="or one of adaclip, adaptclip, anomalyclip"):
        load_recipe("nonsense")
    with pytest.raises(TrainingError, match="cannot be read"):
        load_recipe(tmp_path)


def test_params_on_a_backbone(write, small_backbone):
    """Parts of the depth and block numbers; sizes are cut to the places there are, and said so."""
    text = GOOD.replace("[optimiser]", "[params]\nlayers = [0.5, 3, 1.0]\n[optimiser]")
    assert load_recipe(write(text)).params_on(small_backbone.info)["layers"] == [2, 3, 4]
    deep = load_recipe(write(GOOD.replace("uniadet", "adaclip") + "[params]\nprompt_blocks = 9"))
    with pytest.warns(UserWarning, match="allows prompt_blocks = 4, not 9"):
        assert deep.params_on(small_backbone.info)["prompt_blocks"] == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_recipe("anomalyclip").params_on(small_backbone.info)


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_fits_any_backbone(name, small_backbone, recwarn):
    recipe, info = load_recipe(name), small_backbone.info
    side = recipe.size_on(info)
    assert side is None or side % info.patch_size == 0
    assert side is None or abs(side - recipe.image_size) < info.patch_size
    said = [str(w.message) for w in recwarn if "as in the recipe" in str(w.message)]
    assert len(said) == (side != recipe.image_size)


def test_a_size_that_patches_do_not_fill_is_refused_with_those_that_they_do(small_backbone):
    with pytest.raises(TrainingError, match=r"`image_size` 70 .* give 64 or 80"):
        load_recipe("april_gan").size_on(small_backbone.info, 70)
