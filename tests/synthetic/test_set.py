"""A training set of normal images, some of them damaged."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vlad.datasets.folder import list_images
from vlad.errors import ImageError, InputError
from vlad.synthetic import GENERATORS, SyntheticSet


def key(item):
    return (item.label, item.defect, item.words, item.image.tobytes(), item.mask.tobytes())


def keys_of(job):
    made, places = job
    return [key(made.item(*place)) for place in places]


def test_items_depend_on_nothing_but_seed_epoch_and_index(normals):
    places = [(index, epoch) for epoch in (0, 1) for index in range(6)]
    first = keys_of((SyntheticSet(normals, seed=5), places))
    backwards = keys_of((SyntheticSet(list_images(normals), seed=5), places[::-1]))
    assert backwards[::-1] == first
    assert keys_of((SyntheticSet(normals, seed=6), places)) != first
    assert first[:6] != first[6:]


def test_other_processes_give_the_same(normals):
    made = SyntheticSet(normals, seed=2)
    places = [(index, 3) for index in range(4)]
    code = (
        "import pickle, sys; made, places = pickle.load(sys.stdin.buffer); "
        "pickle.dump([made.item(*p).image.tobytes() for p in places], sys.stdout.buffer)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps((made, places)),
        capture_output=True,
        check=True,
    )
    assert pickle.loads(done.stdout) == [made.item(*place).image.tobytes() for place in places]


def test_what_an_item_is(normals):
    made = SyntheticSet(normals, seed=1)
    items = [made.item(index, epoch) for epoch in range(8) for index in range(len(made))]
    for number, item in enumerate(items):
        source = Image.open(normals / f"{number % 12:02}.png")
        assert item.image.mode == "RGB" and item.image.size == source.size
        assert item.mask.shape == source.size[::-1] and item.mask.dtype == bool
        changed = (np.asarray(item.image) != np.asarray(source)).any(2)
        assert np.array_equal(changed, item.mask)
        assert item.label == item.mask.any()
        assert (item.words == "") == (item.defect == "good") == (item.label == 0)
    assert {item.defect for item in items} == {"good", *GENERATORS}
    assert 0.35 < np.mean([item.label for item in items]) < 0.65


@pytest.mark.parametrize("share, label", [(0, 0), (1, 1)])
def test_share(normals, share, label):
    made = SyntheticSet(normals, ["scratch"], share=share)
    assert {made.item(index).label for index in range(len(made))} == {label}


def test_deep_grey_images(tmp_path):
    ramp = np.linspace(0, 65535, 60 * 80).reshape(60, 80).astype(np.uint16)
    for i in range(2):
        Image.fromarray(np.roll(ramp, i)).save(tmp_path / f"{i}.png")
    item = SyntheticSet(tmp_path, ["stain"], share=1).item(0)
    pixels = np.asarray(item.image)
    assert item.mask.any() and (pixels == pixels[..., :1]).all()
    assert pixels.max() > 200


def test_images_to_borrow_from_that_cannot_be_read_are_passed_over(normals):
    for path in sorted(normals.iterdir())[1:]:
        path.write_bytes(b"not an image")
    for name in GENERATORS:
        assert SyntheticSet(normals, [name], share=1).item(0).mask.any()


def test_errors(normals, tmp_path):
    with pytest.raises(InputError, match="`normals` is empty"):
        SyntheticSet([])
    with pytest.raises(InputError, match="no file or folder"):
        SyntheticSet(tmp_path / "nowhere")
    with pytest.raises(InputError, match="share"):
        SyntheticSet(normals, share=1.5)
    with pytest.raises(InputError, match="seed is -1"):
        SyntheticSet(normals, seed=-1)
    with pytest.raises(IndexError):
        SyntheticSet(normals).item(12)
    Image.new("RGB", (7, 30)).save(normals / "00.png")
    (normals / "01.png").write_bytes(b"not an image")
    with pytest.raises(ImageError, match=r"00\.png: 7×30 pixels are too few"):
        SyntheticSet(normals).item(0)
    with pytest.raises(ImageError, match=r"01\.png"):
        SyntheticSet(normals).item(1)
