"""What images of more than 8 bits a sample become, and that no image is stretched alone."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vlad.errors import ImageError
from vlad.images import read_image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (40, 50), dtype=np.uint16)
GREY16[0, 0] = 65535


def png16(path, array, colour_type):
    """Write (H, W, samples) uint16 as PNG, which Pillow does for grey only."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def tiff(path, array, order="<", bits=None, photometric=1):
    """Write an uncompressed TIFF: uint16 or int32, one or three samples, either byte order."""
    height, width = array.shape[:2]
    samples = array.size // (height * width)
    bits = bits or array.itemsize * 8
    data = array.astype(array.dtype.newbyteorder(order)).tobytes()
    if bits == 12:  # two samples in three bytes
        a, b = array.reshape(-1, 2).astype(np.uint16).T
        data = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], 1).astype(np.uint8).tobytes()
    sample_format = 2 if array.dtype.kind == "i" else 1
    start = 8 + 2 + 12 * 10 + 4
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric)]
    tags += [(273, 4, start + 12), (277, 3, samples), (278, 4, height), (279, 4, len(data))]
    tags += [(339, 3, sample_format)]
    entries, extra = b"", b""
    for tag, kind, value in tags:
        if tag in (258, 339) and samples == 3:
            entries += struct.pack(order + "HHII", tag, kind, 3, start + len(extra))
            extra += struct.pack(order + "HHH", value, value, value)
        else:
            packed = struct.pack(order + "HI"[kind // 4], value).ljust(4, b"\0")
            entries += struct.pack(order + "HHI", tag, kind, 1) + packed
    magic = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    path.write_bytes(magic + entries + b"\0\0\0\0" + extra.ljust(12, b"\0") + data)


@pytest.mark.parametrize("name", ["a.png", "little.tif", "big.tif", "lzw.tif"])
def test_16_bit_grey_keeps_its_high_byte(tmp_path, name, pixels):
    path = tmp_path / name
    if name in ("little.tif", "big.tif"):
        tiff(path, GREY16, "<" if name == "little.tif" else ">")
    else:
        options = {"compression": "tiff_lzw"} if name == "lzw.tif" else {}
        Image.fromarray(GREY16).save(path, **options)
    assert np.array_equal(pixels(path), np.dstack([GREY16 >> 8] * 3))


def test_16_bit_is_not_stretched_per_image(tmp_path, pixels):
    """The same light gives the same grey, whatever else is in the image."""
    for name, brightest in (("dim.png", 20_000), ("bright.png", 60_000)):
        image = np.full((10, 10), 10_000, np.uint16)
        image[0, 0] = brightest
        Image.fromarray(image).save(tmp_path / name)
    assert pixels(tmp_path / "dim.png")[5, 5, 0] == pixels(tmp_path / "bright.png")[5, 5, 0] == 39


@pytest.mark.parametrize("colour_type, samples", [(2, 3), (4, 2), (6, 4)])
def test_16_bit_colour_agrees_with_16_bit_grey(tmp_path, colour_type, samples, pixels):
    array = np.repeat(GREY16[:, :, None], samples, 2)
    if samples in (2, 4):
        array[:, :, -1] = 65535
    png16(tmp_path / "a.png", array, colour_type)
    assert np.array_equal(pixels(tmp_path / "a.png"), np.dstack([GREY16 >> 8] * 3))


def test_16_bit_colour_tiff(tmp_path, pixels):
    colour = RNG.integers(0, 65536, (40, 50, 3), dtype=np.uint16)
    for order in "<>":
        tiff(tmp_path / "a.tif", colour, order, photometric=2)
        assert np.array_equal(pixels(tmp_path / "a.tif"), colour >> 8)


def test_white_is_zero_tiff_is_inverted(tmp_path, pixels):
    tiff(tmp_path / "a.tif", GREY16, photometric=0)
    assert np.array_equal(pixels(tmp_path / "a.tif"), np.dstack([255 - (GREY16 >> 8)] * 3))


def test_12_bit_camera_in_16_bits(tmp_path, pixels):
    twelve = GREY16 >> 4
    Image.fromarray(twelve).save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match="bits=12"):
        pixels(tmp_path / "a.png")
    assert np.array_equal(pixels(tmp_path / "a.png", bits=12), np.dstack([twelve >> 4] * 3))
    Image.fromarray(GREY16).save(tmp_path / "b.png")  # brighter than 12 bits can be
    assert np.array_equal(
        pixels(tmp_path / "b.png", bits=12), np.dstack([np.minimum(GREY16 >> 4, 255)] * 3)
    )


def test_12_bit_tiff_says_so_itself(tmp_path, pixels):
    twelve = GREY16 >> 4
    tiff(tmp_path / "a.tif", twelve, bits=12)
    assert np.array_equal(pixels(tmp_path / "a.tif"), np.dstack([twelve >> 4] * 3))


def test_bits_leave_8_bit_images_alone_and_refuse_16_bit_colour(tmp_path, pixels):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    assert np.array_equal(pixels(tmp_path / "a.png", bits=12), RGB)
    png16(tmp_path / "b.png", RGB.astype(np.uint16) * 16, 2)
    with pytest.raises(ImageError, match="high bytes"):
        read_image(tmp_path / "b.png", bits=12)
    with pytest.warns(UserWarning, match="almost black"):
        read_image(tmp_path / "b.png")


def test_32_bit_integers_within_16_bits_are_taken_as_such(tmp_path, pixels):
    tiff(tmp_path / "a.tif", GREY16.astype(np.int32))
    assert np.array_equal(pixels(tmp_path / "a.tif"), np.dstack([GREY16 >> 8] * 3))
    for wrong in (-1, 65536):
        tiff(tmp_path / "a.tif", np.full((9, 9), wrong, np.int32))
        with pytest.raises(ImageError, match="0 to 65535"):
            read_image(tmp_path / "a.tif")


def test_float_tiff_is_linear_from_0_to_1(tmp_path, pixels):
    ramp = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (9, 1))
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    assert np.array_equal(pixels(tmp_path / "a.tif")[0, :, 0], np.arange(256))


@pytest.mark.parametrize("wrong", [-0.5, 1.5, 255, np.nan, np.inf])
def test_other_floats_are_refused(tmp_path, wrong):
    array = np.full((9, 9), 0.5, np.float32)
    array[3, 3] = wrong
    Image.fromarray(array).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="floats from 0 to 1"):
        read_image(tmp_path / "a.tif")
