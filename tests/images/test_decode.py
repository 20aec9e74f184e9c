"""Every file that cannot be used is an ImageError of one sentence that names it."""

import contextlib
import os
import random
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile

from vlad.errors import ImageError
from vlad.images import read_image

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)
SAVES = {
    "a.png": {},
    "a.jpg": {},
    "progressive.jpg": {"progressive": True},
    "a.bmp": {},
    "a.tif": {},
    "lzw.tif": {"compression": "tiff_lzw"},
    "a.webp": {},
    "lossless.webp": {"lossless": True},
    "a.gif": {},
    "a.ppm": {},
    "a.avif": {},
    "a.jp2": {},
    "a.heic": {},
    "a.dcm": {},
}


def save(image, path, **options):
    """An image as a file of the format that its suffix says."""
    if path.suffix == ".heic":
        pytest.importorskip("pillow_heif").from_pillow(image).save(path)
    elif path.suffix == ".dcm":
        pytest.importorskip("pydicom")
        dicom(path, np.asarray(image.convert("L")))
    else:
        if path.suffix == ".avif":
            pytest.importorskip("PIL.AvifImagePlugin")
        image.save(path, **options)


def dicom(path, samples, colour="MONOCHROME2", **more):
    """A DICOM file of (H, W) or (H, W, 3) samples, without compression."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    bits = samples.itemsize * 8
    dataset.Rows, dataset.Columns = samples.shape[:2]
    dataset.SamplesPerPixel = 3 if samples.ndim == 3 else 1
    if samples.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = colour
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(samples.dtype.kind == "i")
    for name, value in more.items():
        setattr(dataset, name, value)
    dataset.PixelData = samples.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def png_header(width, height):
    """A PNG that states a size and holds no pixels."""
    data = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\x05IDAT"


def refusal(path, **options):
    with pytest.raises(ImageError) as caught:
        read_image(path, **options)
    text = str(caught.value)
    assert str(path) in text and text.endswith(".") and "\n" not in text
    return text


@pytest.mark.parametrize("name", SAVES)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_file_cut_short_anywhere_is_refused_or_complete(tmp_path, name):
    path = tmp_path / name
    save(Image.fromarray(NOISE), path, **SAVES[name])
    content, whole = path.read_bytes(), np.asarray(read_image(path))
    refused = 0
    for kept in sorted({1, 9, 20, *np.linspace(30, len(content) - 1, 25, dtype=int)}):
        path.write_bytes(content[:kept])
        try:
            assert np.array_equal(read_image(path), whole)  # only a trailer was missing
        except ImageError:
            refused += 1
    assert refused > 20
    path.write_bytes(content[: len(content) * 2 // 3])
    assert "truncated" in refusal(path)


@pytest.mark.parametrize("name", SAVES)
def test_flipped_bytes_raise_nothing_but_image_errors(tmp_path, name):
    path = tmp_path / name
    save(Image.fromarray(NOISE[:20, :20]), path, **SAVES[name])
    content, draw = path.read_bytes(), random.Random(name)
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[draw.randrange(min(len(damaged), 300))] = draw.randrange(256)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(ImageError):
                assert read_image(path, max_pixels=10**6).mode == "RGB"


def test_missing(tmp_path):
    assert "no such file" in refusal(tmp_path / "a.png")


def test_folder(tmp_path):
    assert "is a folder" in refusal(tmp_path)


def test_zero_bytes(tmp_path):
    path = tmp_path / "a.png"
    path.touch()
    assert "empty" in refusal(path)


RAMP = np.linspace(0, 4095, 64).round().astype(np.uint16)[None].repeat(16, 0)


def window(samples, low, high):
    """As PS3.3 C.11.2.1.2 says of LINEAR_EXACT: from one value to the other."""
    return np.rint(255 * np.clip((samples.astype(float) - low) / (high - low), 0, 1))


@pytest.mark.parametrize(
    "more, expected",
    [
        ({"BitsStored": 12, "HighBit": 11}, window(RAMP, 0, 4095)),
        ({"BitsStored": 12, "HighBit": 11, "WindowCenter": 1000, "WindowWidth": 500,
          "VOILUTFunction": "LINEAR_EXACT"}, window(RAMP, 750, 1250)),
        ({"WindowCenter": [1000, 9], "WindowWidth": [500, 9],
          "VOILUTFunction": "LINEAR_EXACT"}, window(RAMP, 750, 1250)),
        ({"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 1000,
          "WindowWidth": 500, "VOILUTFunction": "LINEAR_EXACT"}, window(RAMP, 875, 1125)),
        ({"BitsStored": 12, "HighBit": 11, "RescaleSlope": -1, "RescaleIntercept": 0},
         255 - window(RAMP, 0, 4095)),
        ({"BitsStored": 12, "HighBit": 11, "PhotometricInterpretation": "MONOCHROME1"},
         255 - window(RAMP, 0, 4095)),
    ],
    ids=["stored range", "window", "first window", "rescaled", "falling", "white is zero"],
)  # fmt: skip
def test_dicom_goes_by_its_window(tmp_path, more, expected):
    pytest.importorskip("pydicom")
    dicom(tmp_path / "a.dcm", RAMP, **more)
    got = np.asarray(read_image(tmp_path / "a.dcm"))[..., 0].astype(int)
    assert np.abs(got - expected).max() <= 1 and len(np.unique(got)) >= 4


def test_dicom_of_colour_signed_samples_and_frames(tmp_path):
    pytest.importorskip("pydicom")
    dicom(tmp_path / "a.dcm", NOISE, "RGB")
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.dcm")), NOISE)
    dicom(tmp_path / "a.dcm", (RAMP.astype(np.int32) * 16 - 32768).astype(np.int16))
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.dcm"))[0, [0, -1], 0], [0, 255])
    frames = np.concatenate([RAMP, RAMP[:, ::-1]])
    dicom(tmp_path / "a.dcm", frames, Rows=16, NumberOfFrames=2, BitsStored=12, HighBit=11)
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.dcm"))[..., 0], window(RAMP, 0, 4095))
    assert "limit of 99" in refusal(tmp_path / "a.dcm", max_pixels=99)


@pytest.mark.parametrize("name", ["a.heic", "a.avif", "a.jp2"])
def test_newer_formats_are_nearly_as_drawn(tmp_path, name):
    drawn = Image.radial_gradient("L").convert("RGB")
    save(drawn, tmp_path / name)
    got = np.asarray(read_image(tmp_path / name)).astype(int)
    assert np.abs(got - np.asarray(drawn)).mean() < 2


@pytest.mark.parametrize("name", ["a.heic", "a.avif"])
def test_a_phone_held_upright(tmp_path, name):
    stored = np.zeros((64, 96, 3), np.uint8)
    stored[:32] = 255  # the top, which lies on the right when shown
    exif = Image.Exif()
    exif[0x0112] = 6
    if name == "a.heic":
        heif = pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(stored))
        heif.save(tmp_path / name, exif=exif.tobytes())
    else:
        save(Image.fromarray(stored), tmp_path / name, exif=exif)
    got = np.asarray(read_image(tmp_path / name))
    assert got.shape == (96, 64, 3) and got[:, 40:].min() > 200 and got[:, :24].max() < 50


@pytest.mark.parametrize(
    "content, module, kind",
    [
        (b"\0\0\0\x18ftypheic" + bytes(99), "pillow_heif", "HEIC"),
        (bytes(128) + b"DICM" + bytes(99), "pydicom", "DICOM"),
    ],
)
def test_a_format_without_its_package(tmp_path, monkeypatch, content, module, kind):
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "vlad.images.dicom", raising=False)
    assert f"{kind} files need {module}; install it with `pip install" in refusal(path)


@pytest.mark.parametrize("content", [b"x", b"P6", b"this is a text, renamed\n" * 20, b"\0" * 500])
def test_not_an_image(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert "not a supported image" in refusal(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert "not a regular file" in refusal(tmp_path / "a.png")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="rights do not bind this user"
)
def test_without_permission(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(NOISE).save(path)
    path.chmod(0)
    assert "permission denied" in refusal(path)


def test_impossible_path():
    assert "null" in refusal("a\0.png")


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
def test_too_small(tmp_path, size):
    path = tmp_path / "a.png"
    Image.new("RGB", size).save(path)
    assert f"{size[0]}×{size[1]} pixels are too few" in refusal(path)


def test_smallest(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    assert read_image(path).size == (8, 8)


@pytest.mark.parametrize("size", [(0, 0), (0, 100)])
def test_without_pixels(tmp_path, size):
    path = tmp_path / "a.png"
    path.write_bytes(png_header(*size))
    refusal(path)


def test_too_many_pixels_are_refused_from_the_header_alone(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_header(20_000, 20_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = refusal(path)
        assert "400,000,000" in text and "limit of 100,000,000" in text
        # with a higher limit the decoder runs, and finds no pixels
        assert "limit" not in refusal(path, max_pixels=10**9)


def test_pixel_limit_is_inclusive_and_can_be_lowered(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(NOISE).save(path)
    assert read_image(path, max_pixels=4800).size == (80, 60)
    assert "limit of 4,799" in refusal(path, max_pixels=4799)


def test_only_our_own_limit_counts(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(NOISE).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path).size == (80, 60)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_greyed_out_images_never_pass(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    Image.fromarray(NOISE).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert "LOAD_TRUNCATED_IMAGES" in refusal(path)


def test_many_threads_read_the_same_and_change_no_setting(tmp_path):
    names = [name for name in SAVES for _ in range(10)]
    for name, options in SAVES.items():
        save(Image.fromarray(NOISE), tmp_path / name, **options)
    (tmp_path / "bad.png").write_bytes(png_header(20_000, 20_000))
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)

    def read(name):
        try:
            return read_image(tmp_path / name).tobytes()
        except ImageError as error:
            return str(error)

    names += ["bad.png"] * 20
    alone = {name: read(name) for name in set(names)}
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, names)) == [alone[name] for name in names]
    assert before == (
        Image.MAX_IMAGE_PIXELS,
        ImageFile.LOAD_TRUNCATED_IMAGES,
        list(warnings.filters),
    )
