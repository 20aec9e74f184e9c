"""What stands between the thing and the file: light, lens, sensor, JPEG; and the framing."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from vlad.synthetic.noise import grid


@dataclass
class Camera:
    """One set-up, shared by the images of a category; each shot differs a little.

    Args:
        side: side of the image that comes out, pixels.
    """

    side: int
    gain: np.ndarray
    gamma: float
    contrast: float
    slope: np.ndarray
    blur: float
    noise: float
    quality: int
    gray: bool
    zoom: float
    corner: np.ndarray
    flip: bool
    turns: int
    sloppy: float

    @classmethod
    def draw(cls, rng, side):
        """A random set-up."""
        return cls(
            side=side,
            gain=np.float32(np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.05, 3))),
            gamma=float(np.exp(rng.normal(0, 0.2))),
            contrast=float(np.clip(np.exp(rng.normal(0, 0.2)), 0.5, 1.5)),
            slope=rng.normal(0, 0.06, 2).astype(np.float32),
            blur=float(rng.choice([0, rng.uniform(0.3, 1.6)])),
            noise=float(rng.choice([0, rng.uniform(0.002, 0.03)])),
            quality=int(rng.integers(55, 99)),
            gray=rng.random() < 0.2,
            zoom=float(rng.uniform(0.75, 1)),
            corner=rng.random(2),
            flip=rng.random() < 0.5,
            turns=int(rng.integers(4)),
            sloppy=float(rng.choice([0, rng.uniform(0, 1)])),
        )

    def shoot(self, rng, image, mask):
        """Take one image.

        Args:
            image: (n, n, 3) in [0, 1]; mask: (n, n).

        Returns:
            ``(uint8 (side, side, 3), float32 (side, side) mask)``.
        """
        n = image.shape[0]
        y, x = grid(n)
        tilt = self.slope + rng.normal(0, 0.01, 2)
        gain = self.gain * np.exp(rng.normal(0, 0.02))
        light = 1 + tilt[0] * y + tilt[1] * x
        out = np.clip(image * gain, 0, 1) ** self.gamma * light[..., None]
        out = (out - 0.5) * self.contrast + 0.5
        if self.gray:
            out = np.broadcast_to(out.mean(2, keepdims=True), out.shape)
        if self.noise:
            out = out + self.noise * rng.standard_normal(out.shape, dtype=np.float32)
        taken = Image.fromarray(np.uint8(np.clip(out, 0, 1) * 255))
        size = n * self.zoom
        low = (n - size) * self.corner + rng.normal(0, 1 + 2 * self.sloppy, 2)
        low = np.clip(low, 0, n - size)
        box = (low[1], low[0], low[1] + size, low[0] + size)
        angle = self.sloppy * rng.normal(0, 2)
        taken, mask = self._frame(taken, box, angle), self._frame(Image.fromarray(mask), box, angle)
        if self.blur:
            taken = taken.filter(ImageFilter.GaussianBlur(self.blur))
        file = io.BytesIO()
        taken.save(file, "JPEG", quality=self.quality)
        return np.asarray(Image.open(file)), np.asarray(mask)

    def _frame(self, taken, box, angle):
        if angle:
            fill = (
                tuple(int(v) for v in np.asarray(taken).reshape(-1, 3)[0])
                if taken.mode == "RGB"
                else 0
            )
            taken = taken.rotate(angle, Image.BILINEAR, fillcolor=fill)
        taken = taken.resize((self.side, self.side), Image.BILINEAR, box=box)
        if self.flip:
            taken = taken.transpose(Image.FLIP_LEFT_RIGHT)
        if self.turns:
            taken = taken.transpose(Image.ROTATE_90 + self.turns - 1)
        return taken
