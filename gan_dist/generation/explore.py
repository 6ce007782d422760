"""What a page shows of trained models: samples, ways between them, mixed styles, directions and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import torch
from PIL import Image

from gan_dist.data.encoding import image
from gan_dist.errors import UsageError
from gan_dist.generation.directions import Directions, find_directions
from gan_dist.generation.interpolation import Keyframe, interpolate, style_mix
from gan_dist.generation.latents import has_styles, latents_of, pictures
from gan_dist.generation.model import Model

COLUMNS, MIXED_ROWS, MIXED_COLUMNS, DIRECTIONS = 8, 3, 6, 8


class Explorer:
    """Trained models, and what can be asked of them. One question is answered at a time, for some options are set on
    the generator while it draws.

    Args:
        models: of any kind; two may be of one run, with other weights.

    Raises:
        UsageError: there is none, or one makes pictures of pictures.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        if not models:
            raise UsageError("explore: name a run")
        for model in models:
            if model.modality.needs_data:
                told = f"gan-dist sample {model.name} --inputs FOLDER"
                raise UsageError(f"explore: {model.name} makes pictures of other pictures; {told}")
        self.models = list(models)
        self._lock = Lock()
        self._directions: dict[tuple[int, str], Directions] = {}

    @property
    def pictured(self) -> list[Model]:
        """Those that make pictures."""
        return [model for model in self.models if model.modality.shape_words == "[B, C, H, W]"]

    @property
    def styled(self) -> list[Model]:
        """Those whose pictures are made of styles."""
        return [model for model in self.pictured if has_styles(model.generator)]

    @property
    def writing(self) -> list[Model]:
        """Those that write sentences."""
        return [model for model in self.models if model not in self.pictured]

    def classes(self) -> list[str]:
        """Names of all classes of models of pictures."""
        return list(dict.fromkeys(name for model in self.pictured for name in model.classes))

    def samples(self, model: Model, *, seed: int, n: int, cls: str | None, truncation: float) -> Image.Image:
        """A grid of samples; `truncation` counts for generators that have it."""
        with self._lock, model.drawing(truncation=truncation if hasattr(model.generator, "truncation") else None):
            made = torch.cat(list(model.sample_chunks(n, seed=seed, class_label=self._class_of(model, cls))))
        return _grid(made, COLUMNS)

    def way(
        self, model: Model, *, seeds: tuple[int, int], classes: tuple[str | None, str | None], steps: int, way: str
    ) -> Image.Image:
        """Pictures on the way from one sample to another."""
        named = [self._class_of(model, cls) for cls in classes]
        if None in named:
            named = [next((one for one in named if one is not None), None)] * 2
        places = [Keyframe(seed, cls) for seed, cls in zip(seeds, named, strict=True)]
        # A page has one choice for all: a generator without styles goes round where another goes through styles.
        way = "sphere" if way == "spline" and not has_styles(model.generator) else way
        with self._lock:
            return _grid(interpolate(model, places, steps, way), steps)

    def mix(self, model: Model, *, rows: int, columns: int, layers: tuple[int, int], cls: str | None) -> Image.Image:
        """Samples of some seeds with the styles of others in the layers from the first of two to the last."""
        first, last = layers
        down, across = range(rows, rows + MIXED_ROWS), range(columns, columns + MIXED_COLUMNS)
        with self._lock:
            made = style_mix(model, down, across, range(first, last + 1), self._class_of(model, cls))
        return _grid(made, MIXED_COLUMNS + 1)

    def along(
        self, model: Model, *, seed: int, method: str, number: int, strength: float, cls: str | None
    ) -> Image.Image:
        """Samples, and below each what becomes of it along a direction.

        Args:
            method: how directions are found: sefa or pca.
            number: of the direction, from 1.
        """
        with self._lock:
            found = self._found(model, method)
            if not 1 <= number <= len(found.vectors):
                raise UsageError(f"direction {number}: {model.name} has 1 to {len(found.vectors)}")
            start = latents_of(model, range(seed, seed + COLUMNS), self._class_of(model, cls))
            moved = found.move(start, number - 1, torch.tensor([strength]))
            return _grid(torch.cat([pictures(model, start), pictures(model, moved)]), COLUMNS)

    def write(self, model: Model, *, seed: int, n: int, temperature: float, prefix: str, prompt: str) -> list[str]:
        """Sentences, by a temperature where the generator has one, after a prefix or prompt where one is given."""
        takes = hasattr(model.generator, "drawing")
        options = {"temperature": temperature, "prefix": prefix or None} if takes else {}
        if prefix and not takes:
            raise UsageError(f"prefix: {model.name} does not write token by token; leave it out")
        with self._lock:
            found = model.sample(n, seed=seed, prompt=prompt or None, **options)  # type: ignore[arg-type]
        assert isinstance(found, list)
        return found

    def _found(self, model: Model, method: str) -> Directions:
        """A model's directions, looked for once."""
        key = (self.models.index(model), method)
        if key not in self._directions:
            self._directions[key] = find_directions(model, method, count=DIRECTIONS)
        return self._directions[key]

    def _class_of(self, model: Model, cls: str | None) -> str | None:
        """The class that is chosen for all, where this model has classes."""
        return cls if model.classes else None


def _grid(made: torch.Tensor, columns: int) -> Image.Image:
    return image.enlarge(image.make_grid(made, min(columns, len(made))))
