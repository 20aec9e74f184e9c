"""Images of defects: masks beside them are left out, normal images among them refused."""

import pytest
from PIL import Image

from vlad.datasets.defects import list_defects
from vlad.errors import InputError


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(folder / name)


def names(samples):
    return sorted(sample.id for sample in samples)


def test_masks_are_left_out_and_counted(tmp_path):
    put(tmp_path, "crack/1.png", "hole/2.png", "Ground_Truth/crack/1.png", "hole/2_mask.png")
    with pytest.warns(UserWarning, match=r"2 files among the defects are left out as masks: .*1\."):
        found = list_defects(tmp_path)
    assert names(found) == ["crack/1", "hole/2"]


def test_a_name_like_a_mask_without_its_image_is_an_image(tmp_path, recwarn):
    put(tmp_path, "welding_mask.png", "other.png")
    assert names(list_defects(tmp_path)) == ["other", "welding_mask"]
    assert not recwarn.list


def test_masks_alone_are_refused(tmp_path):
    put(tmp_path, "masks/1.png")
    with pytest.raises(InputError, match="there are only masks among the defects"):
        list_defects(tmp_path)


def test_normal_images_among_them_are_refused(tmp_path):
    put(tmp_path / "test", "good/1.png", "crack/2.png")
    with pytest.raises(InputError, match=r"1 image among the defects is called normal: .*1\.png"):
        list_defects(tmp_path / "test")


def test_a_label_of_a_manifest_is_believed(tmp_path):
    put(tmp_path, "1.png", "2.png", "3.png")
    (tmp_path / "list.csv").write_text("path,label\n1.png,1\n2.png,0\n3.png,0\n")
    with pytest.raises(InputError, match="2 images among the defects are called normal"):
        list_defects(tmp_path / "list.csv")
