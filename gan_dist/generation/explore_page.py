"""The page of `gan-dist explore`, made with Gradio: for a person at this machine, on its loopback address alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from gan_dist.errors import UsageError
from gan_dist.generation.explore import COLUMNS, DIRECTIONS, Explorer
from gan_dist.generation.interpolation import WAYS
from gan_dist.generation.model import Model

LOOPBACK = "127.0.0.1"
ALL = "all"
MOST = 64
KEPT_S = 3600  # for which the pictures that were shown stay in Gradio's cache
Answer = Callable[..., Any]


def check_gradio() -> None:
    """Raises UsageError where Gradio is not installed."""
    if find_spec("gradio") is None:
        raise UsageError("explore wants Gradio: pip install 'gan-dist[explore]'")


def serve_page(explorer: Explorer, port: int | None = None, *, browse: bool = False) -> tuple[Any, str]:
    """Serve the page until what is returned first is closed; second is its address.

    Args:
        port: where it listens; None for the first free one from 7860 on.
        browse: whether a browser is opened.

    Raises:
        UsageError: Gradio is not installed, or the port is taken.
    """
    page = make_page(explorer)
    try:
        _, url, _ = page.launch(
            server_name=LOOPBACK,
            server_port=port,
            inbrowser=browse,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            show_error=True,
            ssr_mode=False,
            footer_links=[],
            theme=_theme(),
        )
    except OSError as error:
        raise UsageError(f"--port {port}: {error}") from error
    return page, url.rstrip("/")


def make_page(explorer: Explorer) -> Any:
    """The page as Gradio's blocks, with a tab for what some of the models can do.

    Raises:
        UsageError: Gradio is not installed.
    """
    check_gradio()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when it is imported
    import gradio

    with gradio.Blocks(title="gan-dist explore", analytics_enabled=False, delete_cache=(KEPT_S, KEPT_S)) as page:
        gradio.Markdown(f"## {', '.join(model.name for model in explorer.models)}")
        tabs = _Tabs(gradio, explorer)
        if explorer.pictured:
            tabs.samples()
            tabs.ways()
            tabs.directions()
        if explorer.styled:
            tabs.mixing()
        if explorer.writing:
            tabs.sentences()
        for tab in tabs.made:
            page.load(**tab)
    return page


def _theme() -> Any:
    """Gradio's plain theme with this machine's own fonts; the usual one asks other servers for theirs."""
    import gradio

    return gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


class _Tabs:
    """The tabs of a page. Each has its controls, and beside each other what every model makes of them."""

    def __init__(self, gradio: Any, explorer: Explorer) -> None:
        self.gr, self.explorer = gradio, explorer
        self.made: list[dict[str, Any]] = []  # what each tab shows first

    def samples(self) -> None:
        """Seeds, number, truncation and class."""
        with self.gr.Tab("Samples"):
            with self.gr.Row():
                seed, n = self._seed("seed"), self._slider("how many", 1, MOST, 32)
                bounded = any(hasattr(one.generator, "truncation") for one in self.explorer.pictured)
                truncation = self.gr.Slider(0, 1, 1, step=0.05, label="truncation", visible=bounded)
                cls = self._class("class")
            asked = [seed, n, truncation, cls]
            self._show(
                self.explorer.pictured,
                lambda model, seed, n, truncation, cls: self.explorer.samples(
                    model, seed=_whole(seed), n=_whole(n), cls=_named(cls), truncation=_or(truncation, 1.0)
                ),
                asked,
            )

    def ways(self) -> None:
        """From one seed and class to another."""
        with self.gr.Tab("Interpolation"):
            with self.gr.Row():
                first, last = self._seed("from seed"), self._seed("to seed", 1)
                here, there = self._class("from class"), self._class("to class")
            with self.gr.Row():
                way = self.gr.Radio(list(WAYS), value="sphere", label="way")
                steps = self._slider("pictures", 2, 16, 8)
            asked = [first, last, here, there, way, steps]
            self._show(
                self.explorer.pictured,
                lambda model, first, last, here, there, way, steps: self.explorer.way(
                    model,
                    seeds=(_whole(first), _whole(last)),
                    classes=(_named(here), _named(there)),
                    steps=_whole(steps),
                    way=way,
                ),
                asked,
            )

    def mixing(self) -> None:
        """The styles of some seeds in those of others."""
        with self.gr.Tab("Style mixing"):
            with self.gr.Row():
                rows, columns = self._seed("rows: from seed"), self._seed("columns: from seed", 10)
                most = min(self._layers(model) for model in self.explorer.styled) - 1
                first, last = self._slider("layers from", 0, most, 0), self._slider("to", 0, most, most // 2)
                cls = self._class("class")
            asked = [rows, columns, first, last, cls]
            self._show(
                self.explorer.styled,
                lambda model, rows, columns, first, last, cls: self.explorer.mix(
                    model,
                    rows=_whole(rows),
                    columns=_whole(columns),
                    layers=(_whole(first), _whole(last)),
                    cls=_named(cls),
                ),
                asked,
            )

    def directions(self) -> None:
        """Pictures, and what becomes of them along one of the strongest directions."""
        with self.gr.Tab("Directions"):
            with self.gr.Row():
                seed, number = self._seed("seed"), self._slider("direction", 1, DIRECTIONS, 1)
                strength = self.gr.Slider(-5, 5, 2, step=0.25, label="strength")
                method = self.gr.Radio(["sefa", "pca"], value="sefa", label="found by")
                cls = self._class("class")
            asked = [seed, number, strength, method, cls]
            self._show(
                self.explorer.pictured,
                lambda model, seed, number, strength, method, cls: self.explorer.along(
                    model, seed=_whole(seed), method=method, number=_whole(number), strength=strength, cls=_named(cls)
                ),
                asked,
            )

    def sentences(self) -> None:
        """Seeds, temperature, and what sentences begin with or follow."""
        with self.gr.Tab("Sentences"):
            with self.gr.Row():
                seed, n = self._seed("seed"), self._slider("how many", 1, MOST, 12)
                temperature = self.gr.Slider(0.1, 2, 1, step=0.05, label="temperature")
            with self.gr.Row():
                prompted = any(one.modality.condition == "prompts" for one in self.explorer.writing)
                prefix = self.gr.Textbox(label="begins with")
                prompt = self.gr.Textbox(label="follows the prompt", visible=prompted)
            asked = [seed, n, temperature, prefix, prompt]
            self._show(
                self.explorer.writing,
                lambda model, seed, n, temperature, prefix, prompt: "\n".join(
                    self.explorer.write(
                        model,
                        seed=_whole(seed),
                        n=_whole(n),
                        temperature=temperature,
                        prefix=prefix,
                        prompt=_or(prompt, ""),
                    )
                ),
                asked,
                lambda model: self.gr.Textbox(label=model.name, show_label=False, lines=COLUMNS, interactive=False),
            )

    def _show(
        self,
        models: Sequence[Model],
        answer: Answer,
        asked: Sequence[Any],
        shown: Callable[[Model], Any] | None = None,
    ) -> None:
        """What each model answers, beside each other, anew whenever a control is changed."""
        outputs = []
        with self.gr.Row():
            for model in models:
                with self.gr.Column():
                    self.gr.Markdown(f"**{model.name}**")
                    outputs.append((shown or self._picture)(model))

        def answers(*values: Any) -> Any:
            found = []
            for model in models:
                try:
                    found.append(answer(model, *values))
                except UsageError as error:  # of one model; the others answer
                    if len(models) == 1:
                        raise self.gr.Error(str(error), print_exception=False) from error
                    self.gr.Warning(str(error))
                    found.append(None)
            return found if len(found) > 1 else found[0]

        call = {"fn": answers, "inputs": list(asked), "outputs": outputs, "show_progress": "minimal"}
        self.gr.on([one.change for one in asked], **call, trigger_mode="always_last", api_visibility="private")
        self.made.append(call)

    def _picture(self, model: Model) -> Any:
        return self.gr.Image(
            label=model.name,
            show_label=False,
            format="png",
            type="pil",
            interactive=False,
            buttons=["download", "fullscreen"],
        )

    def _seed(self, label: str, value: int = 0) -> Any:
        return self.gr.Number(value, label=label, precision=0, minimum=0, step=1)

    def _slider(self, label: str, least: int, most: int, value: int) -> Any:
        return self.gr.Slider(least, most, value, step=1, label=label)

    def _class(self, label: str) -> Any:
        classes = self.explorer.classes()
        return self.gr.Dropdown([ALL, *classes], value=ALL, label=label, visible=bool(classes))

    def _layers(self, model: Model) -> int:
        """How many layers of a model take styles."""
        from gan_dist.generation.latents import latents_of

        return int(latents_of(model, [0]).vectors.shape[1])


def _named(cls: str | None) -> str | None:
    """The class that is chosen; a box that is not shown says None."""
    return None if cls == ALL else cls


def _or(value: Any, usual: Any) -> Any:
    """What a control says, or what is usual where it is not shown."""
    return usual if value is None else value


def _whole(value: float | None) -> int:
    """A whole number that a box holds. Raises UsageError where it was emptied."""
    if value is None:
        raise UsageError("a number is missing")
    return int(value)
