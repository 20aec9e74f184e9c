"""The layouts of labelled video: which videos are for what, and which frames are anomalous."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from vlad.datasets.footage import FOOTAGE, load_footage
from vlad.errors import InputError


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def anomalous(clip, frames):
    """The numbers of the anomalous ones of the first frames of a clip."""
    return np.flatnonzero(clip.read().labels(range(frames))).tolist()


def names(paths):
    return [path.name for path in paths]


@pytest.fixture
def ped2(tmp_path, fill):
    root = tmp_path / "UCSD" / "UCSDped2"
    fill(root, [f"Train/Train00{n}/001.tif" for n in (1, 2)])
    fill(root, [f"Test/Test00{n}/00{m}.tif" for n in (1, 2) for m in range(1, 6)])
    (root / "Test/Test001_gt").mkdir()
    mask = np.zeros((8, 8), np.uint8)
    mask[2, 3] = 255
    Image.fromarray(mask).save(root / "Test/Test001_gt/003.bmp")
    write(
        root / "Test/UCSDped2.m",
        "TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [3:4];\n"
        "TestVideoFile{end+1}.gt_frame = [1 4:5];\n",
    )
    return root


def test_ucsd(ped2):
    data = load_footage("ucsd_ped2", ped2.parent)
    assert names(data.train()) == ["Train001", "Train002"]
    first, second = data.test()
    assert first.path == ped2 / "Test/Test001" and second.path.name == "Test002"
    assert anomalous(first, 5) == [2, 3] and anomalous(second, 5) == [0, 3, 4]
    assert np.argwhere(first.read().mask(2)).tolist() == [[2, 3]]
    assert second.read().mask is None


def test_ucsd_with_another_number_of_lists(ped2):
    write(ped2 / "Test/UCSDped2.m", "gt_frame = [3:4];")
    with pytest.raises(InputError, match="2 folders of test frames, 1 lists"):
        load_footage("ucsd_ped2", ped2)


@pytest.fixture
def avenue(tmp_path, fill):
    fill(tmp_path / "Avenue", ["training_videos/01.avi", "testing_videos/01.avi"])
    masks = np.empty((1, 4), object)
    for number in range(4):
        masks[0, number] = np.full((2, 3), number in (1, 2), np.uint8)
    labels = tmp_path / "ground_truth_demo/testing_label_mask"
    labels.mkdir(parents=True)
    savemat(labels / "1_label.mat", {"volLabel": masks})
    return tmp_path / "Avenue"


def test_avenue(avenue):
    data = load_footage("avenue", avenue)
    assert names(data.train()) == ["01.avi"]
    (clip,) = data.test()
    assert clip.path == avenue / "testing_videos/01.avi"
    assert anomalous(clip, 4) == [1, 2]
    truth = clip.read()
    assert truth.mask(1).all() and truth.mask(1).shape == (2, 3) and not truth.mask(3).any()
    with pytest.raises(InputError, match="no label for frame 4, only for 4 frames"):
        truth.labels([4])


def test_avenue_with_a_damaged_file(avenue):
    write(avenue.parent / "ground_truth_demo/testing_label_mask/1_label.mat", "no matrix")
    (clip,) = load_footage("avenue", avenue).test()
    with pytest.raises(InputError, match=r"1_label\.mat .*; copy the file"):
        clip.read()


def test_shanghaitech(tmp_path, fill):
    fill(tmp_path, ["training/videos/01_001.avi", "testing/frames/01_0014/000.jpg"])
    for kind, array in {
        "frame": np.array([0, 1, 1, 0, 1], np.uint8),
        "pixel": np.arange(5 * 6).reshape(5, 2, 3) >= 24,
    }.items():
        (tmp_path / f"testing/test_{kind}_mask").mkdir()
        np.save(tmp_path / f"testing/test_{kind}_mask/01_0014.npy", array)
    data = load_footage("shanghaitech", tmp_path)
    assert names(data.train()) == ["01_001.avi"]
    (clip,) = data.test()
    assert anomalous(clip, 5) == [1, 2, 4]
    assert clip.read().mask(4).all() and not clip.read().mask(0).any()


@pytest.fixture
def ubnormal(tmp_path, fill):
    fill(tmp_path, ["Scene1/normal_scene_1_scenario_1.mp4", "Scene1/normal_scene_1_scenario_2.mp4"])
    bad = "abnormal_scene_2_scenario_1"
    folder = tmp_path / f"Scene2/{bad}_annotations"
    fill(tmp_path, [f"Scene2/{bad}.mp4"])
    write(folder / f"{bad}_tracks.txt", "3,1,2\n5.0,2,2\n")
    for number in range(4):
        values = np.zeros((8, 9), np.uint8)
        values[1:3, 2:6] = 3
        values[6, 8] = 3  # a crumb, smaller than the object
        values[4:8, 0:2] = 5
        values[0, 0] = 7  # a normal object
        Image.fromarray(values).save(folder / f"{bad}_{number:04}_gt.png")
    for split, name in {
        "normal_training": "normal_scene_1_scenario_1",
        "normal_test": "normal_scene_1_scenario_2",
        "abnormal_test": bad,
    }.items():
        write(tmp_path / f"scripts/{split}_video_names.txt", f"{name}\n")
    return tmp_path


def test_ubnormal(ubnormal):
    data = load_footage("ubnormal", ubnormal)
    assert names(data.train()) == ["normal_scene_1_scenario_1.mp4"]
    normal, bad = data.test()
    assert anomalous(normal, 4) == [] and anomalous(bad, 4) == [1, 2]
    truth = bad.read()
    assert truth.mask(1).sum() == 9 and truth.mask(2).sum() == 17 and not truth.mask(3).any()
    assert truth.regions.tolist() == [[1, 2, 1, 4, 2, 0], [2, 2, 1, 4, 2, 0], [2, 0, 4, 2, 4, 1]]


@pytest.fixture
def ucf(tmp_path, fill):
    bad = [f"Videos/Abuse/Abuse{number}_x264.mp4" for number in ("028", "001")]
    normal = ["Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4"]
    fill(tmp_path, [*bad, *normal, "Training_Normal_Videos_Anomaly/Normal_Videos001_x264.mp4"])
    write(
        tmp_path / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt",
        "Abuse028_x264.mp4  Abuse  2  3  6  6  \nNormal_Videos_003_x264.mp4  Normal -1 -1 -1 -1\n",
    )
    write(
        tmp_path / "Anomaly_Train.txt",
        "Abuse/Abuse001_x264.mp4\nTraining_Normal_Videos_Anomaly/Normal_Videos001_x264.mp4\n",
    )
    return tmp_path


def test_ucf_crime(ucf):
    data = load_footage("ucf_crime", ucf)
    assert names(data.train()) == ["Normal_Videos001_x264.mp4"]
    bad, normal = data.test()
    assert anomalous(bad, 8) == [1, 2, 5] and anomalous(normal, 8) == []
    # a stretch from the very beginning, whichever number it has
    for first in (0, 1):
        line = f"Abuse028_x264.mp4  Abuse  {first}  2  -1  -1\n"
        write(ucf / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt", line)
        (bad,) = load_footage("ucf_crime", ucf).test()
        assert anomalous(bad, 8) == [0, 1]
    (ucf / "Videos/Abuse/Abuse028_x264.mp4").unlink()
    with pytest.raises(InputError, match=r"lists Abuse028_x264\.mp4, which is not below"):
        load_footage("ucf_crime", ucf).test()


def test_xd_violence(tmp_path, fill):
    fill(tmp_path, [f"test/{name}.mp4" for name in ("a_label_B1-0-0", "b_label_A")])
    fill(tmp_path, [f"1-1004/{name}.mp4" for name in ("c_label_A", "d_label_B2-0-0")])
    write(tmp_path / "annotations.txt", "a_label_B1-0-0.mp4 1 3 5 6\n")
    data = load_footage("xd_violence", tmp_path)
    assert names(data.train()) == ["c_label_A.mp4"]
    bad, normal = data.test()
    assert (bad.path.name, normal.path.name) == ("a_label_B1-0-0.mp4", "b_label_A.mp4")
    assert anomalous(bad, 8) == [1, 2, 5] and anomalous(normal, 8) == []


def test_table(tmp_path):
    write(tmp_path / "labels.csv", "video,first,last\na.mp4,1,2\na.mp4,5,5\ngood/b.mp4,,\n")
    bad, normal = load_footage("csv", tmp_path / "labels.csv").test()
    assert bad.path == tmp_path / "a.mp4" and normal.path == tmp_path / "good/b.mp4"
    assert anomalous(bad, 8) == [1, 2, 5] and anomalous(normal, 8) == []


def test_table_with_a_stretch_that_ends_before_it_begins(tmp_path):
    write(tmp_path / "labels.csv", "video,first,last\na.mp4,3,2\n")
    with pytest.raises(InputError, match=r"line 2 of .*'3' to '2'"):
        load_footage("csv", tmp_path / "labels.csv")


@pytest.mark.parametrize("name", [name for name in FOOTAGE if name != "csv"])
def test_another_folder_is_told_what_was_expected(name, tmp_path):
    with pytest.raises(InputError, match=r"layout.*; put "):
        load_footage(name, tmp_path)


def test_unknown_layout():
    with pytest.raises(InputError, match="unknown layout of video 'ped3'"):
        load_footage("ped3", ".")
