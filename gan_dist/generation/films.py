"""Pictures one after the other as the content of a film: .mp4 and .webm by PyAV, .gif by Pillow."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from gan_dist.data.encoding import image
from gan_dist.errors import UsageError
from gan_dist.runs.run_folder import RunFolder

# By the file's ending: container, codec and its options. Both are as good as a film of smooth pictures needs.
CODECS: dict[str, tuple[str, str, dict[str, str]]] = {
    ".mp4": ("mp4", "libx264", {"crf": "17", "preset": "medium"}),
    ".webm": ("webm", "libvpx-vp9", {"crf": "24", "b:v": "0"}),
}
FILMS = (".gif", *CODECS)
LEAST = 256  # pixels that small pictures are enlarged to
CAPTION = 18


def is_film(path: Path) -> bool:
    return path.suffix.lower() in FILMS


def check_film(path: Path) -> None:
    """Whether a film of this ending can be written here.

    Raises:
        UsageError: PyAV is not installed.
    """
    if path.suffix.lower() in CODECS and find_spec("av") is None:
        raise UsageError(
            f"--out {str(path)!r}: a film of {path.suffix} wants PyAV: pip install 'gan-dist[video]'; or make a .gif"
        )


def encode_film(frames: Tensor | list[Image.Image], ending: str, fps: float) -> bytes:
    """Pictures uint8 [F, C, H, W] as a film of this ending, `fps` of them a second; of a GIF at most 50."""
    shown = [image.make_grid(one[None], 1) for one in frames] if isinstance(frames, Tensor) else frames
    shown = [image.enlarge(one, LEAST) for one in shown]
    if ending == ".gif":
        return _gif(shown, fps)
    return _encoded(shown, *CODECS[ending], fps=fps)


def film_of_grids(run: RunFolder, path: Path, fps: float = 8.0) -> bytes:
    """A run's grids one after the other, from its first to its last, with the samples seen below.

    Raises:
        UsageError: the run has no pictures of samples, or the film's ending is none that can be written.
    """
    if not is_film(path):
        raise UsageError(f"--film {str(path)!r}: a film is a file of {', '.join(FILMS)}")
    check_film(path)
    names = [name for name in run.grids() if name.endswith(".png")]
    if not names:
        raise UsageError(f"--film: {run.id} has no pictures of samples")
    folder, frames = run.folder.child("grids"), []
    for name in names:
        picture = image.enlarge(Image.open(io.BytesIO(folder.read(name))).convert("RGB"), LEAST)
        frame = Image.new("RGB", (picture.width, picture.height + CAPTION), (245, 245, 245))
        frame.paste(picture)
        seen = f"{int(Path(name).stem):,} samples seen"
        ImageDraw.Draw(frame).text((4, picture.height + CAPTION // 2), seen, "black", anchor="lm")
        frames.append(frame)
    # The last stays for a while.
    return encode_film([*frames, *frames[-1:] * round(fps)], path.suffix.lower(), fps)


def _gif(shown: list[Image.Image], fps: float) -> bytes:
    buffer = io.BytesIO()
    ms = max(20, round(1000 / fps))
    shown[0].save(buffer, "GIF", save_all=True, append_images=shown[1:], duration=ms, loop=0)
    return buffer.getvalue()


def _encoded(shown: list[Image.Image], container: str, codec: str, options: dict[str, str], *, fps: float) -> bytes:
    from fractions import Fraction

    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
        # Colours are stored for each 2x2 pixels, so that both sides must be even.
        stream.width, stream.height = (side + side % 2 for side in shown[0].size)
        stream.pix_fmt = "yuv420p"
        for picture in shown:
            pixels = np.asarray(picture.convert("RGB"))
            even = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
            file.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        file.mux(stream.encode(None))
    return buffer.getvalue()
