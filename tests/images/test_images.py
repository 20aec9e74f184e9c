"""What images of every kind become, and the pixels a backbone gets from them."""

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from vlad.errors import ImageError, InputError
from vlad.images import as_image, is_image, read_image, to_pixels

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (40, 50), dtype=np.uint16)
GREY16[0, 0] = 65535
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp", "a.ppm", "wrong_suffix.jpg"])
def test_lossless_formats_come_back_exactly(tmp_path, name, pixels):
    format = {"a.webp": "WEBP", "wrong_suffix.jpg": "PNG"}.get(name)
    Image.fromarray(RGB).save(tmp_path / name, format=format, lossless=True)
    assert np.array_equal(pixels(tmp_path / name), RGB)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"format": "MPO"}])
def test_jpeg_is_decoded_as_pillow_does(tmp_path, options, pixels):
    path = tmp_path / "a.jpg"
    Image.fromarray(RGB).save(path, **options)
    assert np.array_equal(pixels(path), np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.gif", "a.pgm"])
def test_grey(tmp_path, name, pixels):
    Image.fromarray(RGB[..., 0]).save(tmp_path / name, quality=100)
    assert np.abs(pixels(tmp_path / name) - np.dstack([RGB[..., 0]] * 3)).max() <= (name == "a.jpg")


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.pbm"])
def test_one_bit_is_black_and_white(tmp_path, name, pixels):
    black_white = RGB[..., 0] > 127
    Image.fromarray(black_white).save(tmp_path / name)
    assert np.array_equal(pixels(tmp_path / name), np.dstack([black_white * 255] * 3))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_transparency_is_laid_over_white(tmp_path, name, pixels):
    alpha = np.full((40, 50), 255, np.uint8)
    alpha[:10], alpha[10:20] = 0, 100
    Image.fromarray(np.dstack([RGB, alpha])).save(tmp_path / name, lossless=True, exact=True)
    got, share = pixels(tmp_path / name), alpha[:, :, None] / 255
    assert np.abs(got - (RGB * share + 255 * (1 - share))).max() <= 1
    assert (got[:10] == 255).all() and np.array_equal(got[20:], RGB[20:])


def test_grey_with_alpha(tmp_path, pixels):
    alpha = np.where(RGB[..., 1] > 99, 255, 0).astype(np.uint8)
    Image.fromarray(np.dstack([RGB[..., 0], alpha])).save(tmp_path / "a.png")
    assert np.array_equal(
        pixels(tmp_path / "a.png"), np.dstack([np.where(alpha, RGB[..., 0], 255)] * 3)
    )


def test_all_transparent_is_refused(tmp_path):
    Image.fromarray(np.dstack([RGB, np.zeros((40, 50), np.uint8)])).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="transparent everywhere"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.bmp", "a.tif"])
def test_palette(tmp_path, name, pixels):
    image = Image.fromarray(RGB).quantize(16)
    image.save(tmp_path / name)
    assert np.array_equal(pixels(tmp_path / name), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("transparency", [3, bytes([0] * 4 + [255] * 252)])
@pytest.mark.filterwarnings("error")
def test_transparent_palette_is_laid_over_white(tmp_path, transparency, pixels):
    image = Image.fromarray(RGB).quantize(16)
    image.save(tmp_path / "a.png", transparency=transparency)
    clear = np.asarray(image) < 4 if isinstance(transparency, bytes) else np.asarray(image) == 3
    expected = np.where(clear[:, :, None], 255, np.asarray(image.convert("RGB")))
    assert clear.any() and np.array_equal(pixels(tmp_path / "a.png"), expected)


def test_transparent_colour(tmp_path, pixels):
    Image.fromarray(RGB).save(tmp_path / "a.png", transparency=tuple(RGB[5, 5].tolist()))
    expected = RGB.copy()
    expected[(RGB[5, 5] == RGB).all(-1)] = 255
    assert np.array_equal(pixels(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk(tmp_path, name, pixels):
    flat = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    flat.save(tmp_path / name, quality=100)
    assert np.abs(pixels(tmp_path / name) - (0, 255, 255)).max() <= 2


def test_unsupported_colour_mode_is_refused():
    with pytest.raises(ImageError, match="colour mode La"):
        as_image(Image.new("La", (16, 16)))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path, name, orientation):
    """The corner colours end where a viewer shows them."""
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24], upright[:16, 24:], upright[16:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),  # a viewer turns it clockwise
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if name == "a.jpg" else {}
    image = Image.fromarray(np.ascontiguousarray(stored))
    image.save(
        tmp_path / name, exif=exif, **options, **({"lossless": True} if "webp" in name else {})
    )
    once = read_image(tmp_path / name)
    assert once.size == (48, 32)
    assert np.abs(np.asarray(once).astype(int) - upright).max() <= 3
    assert as_image(once).tobytes() == once.tobytes()
    with Image.open(tmp_path / name) as opened:
        assert as_image(opened).tobytes() == once.tobytes()


def test_broken_exif_does_not_spoil_the_image(tmp_path, pixels):
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff nonsense")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(pixels(tmp_path / "a.png"), RGB)


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.webp", "a.png"])
def test_first_of_several_frames(tmp_path, name, pixels):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    assert (pixels(tmp_path / name) == (255, 0, 0)).all()


def test_as_image_takes_paths_and_pil(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(RGB)):
        assert np.array_equal(np.asarray(as_image(given)), RGB)
    with pytest.raises(ImageError, match="limit of 10"):
        as_image(tmp_path / "a.png", max_pixels=10)


@pytest.mark.parametrize(
    "array, expected",
    [
        (RGB, RGB),
        (RGB[::-1, ::2], RGB[::-1, ::2]),
        (RGB[..., 0], np.dstack([RGB[..., 0]] * 3)),
        (RGB[..., :1], np.dstack([RGB[..., 0]] * 3)),
        (np.dstack([RGB, np.full((40, 50), 255, np.uint8)]), RGB),
        (GREY16, np.dstack([GREY16 >> 8] * 3)),
        (RGB.astype(np.uint16) * 257, RGB),
        (RGB.astype(np.float32) / 255, RGB),
        (RGB[..., 0] / 255, np.dstack([RGB[..., 0]] * 3)),
    ],
)
def test_as_image_takes_arrays(array, expected):
    image = as_image(array)
    assert image.mode == "RGB" and np.array_equal(np.asarray(image), expected)


@pytest.mark.parametrize(
    "wrong, says",
    [
        (RGB.astype(np.int64), "uint8, uint16, or floats"),
        (RGB > 5, "uint8, uint16, or floats"),
        (RGB.astype(np.float32), "floats from 0 to 1"),
        (RGB.transpose(2, 0, 1), "(H, W, 3)"),
        (RGB[None], "one image"),
        (RGB[:0], "too few"),
        (RGB[:1, :1], "too few"),
        (RGB[..., :0], "(H, W, 3)"),
        (None, "NoneType"),
        ([1, 2], "list"),
        (bytearray(b"x" * 99), "bytearray"),
        (b"", "the given BytesIO: the file is empty"),
        (b"x" * 99, "not a supported image"),
        (io.StringIO("text"), "open as text; give a file open in binary"),
        (torch.zeros(3, 40, 50) - 1, "from -1 to -1, but only floats from 0 to 1"),
        (torch.full((3, 40, 50), 255.0), "floats from 0 to 1"),
        (torch.full((3, 40, 50), torch.nan), "floats from 0 to 1"),
        (torch.zeros(3, 40, 50, dtype=torch.int64), "torch.int64 tensor of shape (3, 40, 50)"),
        (torch.zeros(40, 50, 3), "give one image, (3, H, W)"),
        (torch.zeros(40, 50), "give one image, (3, H, W)"),
        (torch.zeros(1, 3, 40, 50), "give one image, (3, H, W)"),
        (Image.new("RGB", (0, 0)), "too few"),
    ],
)
def test_as_image_refuses_the_rest(wrong, says):
    with pytest.raises(ImageError) as caught:
        as_image(wrong)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "tensor, expected",
    [
        (torch.from_numpy(RGB).permute(2, 0, 1), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1) / 255, RGB),
        ((torch.from_numpy(RGB).permute(2, 0, 1) / 255).half(), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1).div(255).requires_grad_(), RGB),
        (torch.from_numpy(RGB[None, ..., 0]), np.dstack([RGB[..., 0]] * 3)),
        (torch.from_numpy(GREY16[None]), np.dstack([GREY16 >> 8] * 3)),
        (torch.ones(3, 40, 50, dtype=torch.bfloat16), np.full((40, 50, 3), 255)),
        (torch.cat([torch.ones(3, 40, 50), torch.full((1, 40, 50), 0.2)]), np.full_like(RGB, 255)),
    ],
)
def test_as_image_takes_tensors(tensor, expected):
    image = as_image(tensor)
    assert image.mode == "RGB" and np.array_equal(np.asarray(image), expected)


def test_as_image_takes_bytes_and_open_files(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *place):
            raise io.UnsupportedOperation("seek")

    with (tmp_path / "a.png").open("rb") as file:
        for given in (content, io.BytesIO(content), Pipe(content), file):
            assert np.array_equal(np.asarray(as_image(given)), RGB)
        with pytest.raises(ImageError, match=r"a\.png: .* limit of 10"):
            as_image(file, max_pixels=10)
    with pytest.raises(ImageError, match="limit of 10"):
        as_image(content, max_pixels=10)


def test_what_is_one_image_and_what_are_many(tmp_path):
    one = [
        "a.png",
        tmp_path,
        b"",
        io.BytesIO(),
        Image.new("RGB", (9, 9)),
        RGB,
        torch.zeros(3, 9, 9),
    ]
    many = [RGB[None], torch.zeros(1, 3, 9, 9), [RGB], (RGB,), iter([RGB]), 5, None]
    assert [is_image(given) for given in one + many] == [True] * len(one) + [False] * len(many)


def test_as_image_of_a_file_cut_short(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) * 2 // 3])
    with Image.open(tmp_path / "a.jpg") as opened, pytest.raises(ImageError, match="damaged"):
        as_image(opened)


@pytest.mark.parametrize("resize", ["pil", "float"])
def test_to_pixels_squashes_the_whole_image(resize):
    image = np.zeros((60, 200, 3), np.uint8)
    image[:, :100, 0], image[30:, :, 2] = 255, 255
    out = to_pixels(Image.fromarray(image), (20, 24), (0, 0, 0), (1, 1, 1), resize)
    assert out.shape == (3, 20, 24) and out.dtype == np.float32 and out.flags.c_contiguous
    expected = np.zeros((3, 20, 24))
    expected[0, :, :12], expected[2, 10:] = 1, 1
    assert np.abs(out - expected).mean() < 0.02
    square = to_pixels(Image.fromarray(image), 16, MEAN, STD, resize)
    assert square.shape == (3, 16, 16)


@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "hamming", "lanczos"])
def test_to_pixels_resizes_as_the_backbone_asks(interpolation):
    image = Image.fromarray(RGB)
    out = to_pixels(image, 16, (0, 0, 0), (1, 1, 1), "pil", interpolation)
    expected = image.resize((16, 16), Image.Resampling[interpolation.upper()])
    assert np.allclose(out, np.asarray(expected).transpose(2, 0, 1) / 255)
    assert not np.allclose(out, to_pixels(image, 16, (0, 0, 0), (1, 1, 1)))


def test_to_pixels_resizes_bilinearly_whatever_the_backbone_asks():
    image, look = Image.fromarray(RGB), ((0, 0, 0), (1, 1, 1))
    out = to_pixels(image, 16, *look, "pil_bilinear", "lanczos")
    assert np.array_equal(out, to_pixels(image, 16, *look, "pil", "bilinear"))


@pytest.mark.parametrize("resize", ["pil", "float"])
def test_to_pixels_at_the_same_size_only_normalises(resize):
    out = to_pixels(Image.fromarray(RGB), (40, 50), MEAN, STD, resize)
    expected = (RGB / 255 - MEAN) / STD
    assert np.allclose(out, expected.transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize(
    "case, key, drawn, size, resize",
    [
        ("winclip_accurate_tinyb16_240_k0", "pixel_values", ("bottle", 0, True), 240, "pil"),
        ("winclip_anomalib_tinyb16_240_k0", "pixel_values", ("bottle", 0, True), 240, "float"),
        (
            "winclip_anomalib_tinyb16_240_k2",
            "ref_pixel_values.metal_nut",
            ("metal_nut", 100, False),
            240,
            "float",
        ),
        ("memory_tinyl14_336", "pixel_values.metal_nut", ("metal_nut", 0, True), 238, "pil"),
        ("aprilgan_tinyl14_336_zero_shot", "pixel_values", ("bottle", 0, True), 238, "pil"),
        ("anomalyclip_tinyl14_336", "pixel_values", ("bottle", 0, True), 238, "pil"),
    ],
)
def test_to_pixels_gives_what_the_methods_saw(parity, case, key, drawn, size, resize):
    array, _ = parity.images.make(*drawn)
    out = to_pixels(Image.fromarray(array), size, MEAN, STD, resize)
    assert np.abs(out - parity.case(case)[key][0]).max() < 1e-5


def test_an_open_file_is_read_like_a_path_and_called_by_its_name(tmp_path):
    path = tmp_path / "a.png"
    Image.effect_noise((20, 30), 80).convert("RGB").save(path)
    with path.open("rb") as file:
        file.read(7)  # wherever it stands
        assert read_image(file, name="upload").tobytes() == read_image(path).tobytes()
        assert not file.closed
    for content, words in (
        (b"", "empty"),
        (path.read_bytes()[:90], "truncated"),
        (b"x", "not a supported image"),
    ):
        with pytest.raises(ImageError, match=f"cannot read upload: .*{words}"):
            read_image(io.BytesIO(content), name="upload")
    with pytest.raises(ImageError, match=r"cannot read upload: .* over the limit of 599"):
        read_image(io.BytesIO(path.read_bytes()), name="upload", max_pixels=599)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bits": 24}, "bits is 24; give a whole number from 9 to 16"),
        ({"bits": "12"}, "bits is '12'; give a whole number from 9 to 16"),
        ({"bits": True}, "bits is True"),
        ({"max_pixels": 0}, "max_pixels is 0; give a whole number of 1 or more"),
        ({"max_pixels": float("nan")}, "max_pixels is nan"),
        ({"max_pixels": 2**50}, "max_pixels is 1125899906842624"),
    ],
)
def test_numbers_out_of_their_range(tmp_path, options, says):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    for read, given in ((read_image, tmp_path / "a.png"), (as_image, RGB)):
        with pytest.raises(InputError) as caught:
            read(given, **options)
        assert says in str(caught.value)
        # no fault of one image, which a run would pass over
        assert not isinstance(caught.value, ImageError)
