"""What the page of `gan-dist explore` shows is what the commands make; and the page itself in a browser."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gan_dist.data.codec import SPECIAL, Codec, Splitting
from gan_dist.data.encoding import image
from gan_dist.data.facts import TextFacts
from gan_dist.errors import UsageError
from gan_dist.generation.directions import find_directions
from gan_dist.generation.explore import Explorer
from gan_dist.generation.explore_page import check_gradio, make_page, serve_page
from gan_dist.generation.interpolation import Keyframe, interpolate, style_mix
from gan_dist.generation.latents import latents_of, pictures
from gan_dist.generation.model import Model
from gan_dist.networks.text import lstm
from tests.generation.test_latents import plain, styled
from tests.helpers import Cli, small

BROWSER = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")


def writer() -> Model:
    torch.manual_seed(0)
    words = (*SPECIAL, "the", "cat", "sat", "on", "a", "mat", "and", "saw", "one", "other", "there", "today")
    codec = Codec(6, Splitting("words"), words)
    facts = TextFacts(count=9, checksum="none", codec=codec)
    provided = {"vocabulary": len(words), "length": 6, "bos": codec.bos, "eos": codec.eos}
    generator = lstm.Generator(**provided, embedding=4, hidden=4).eval().requires_grad_(False)
    data = {"modality": "text", "source": "nowhere", "length": 6}
    spec = small(data=data, generator={"use": "lstm"}, discriminator=None, objective={"use": "mle"})
    return Model(generator=generator, spec=spec, facts=facts, seen=9, uri="nowhere", name="writer")


def shown(made: torch.Tensor, columns: int) -> np.ndarray[Any, Any]:
    return np.asarray(image.enlarge(image.make_grid(made, columns)))


@pytest.fixture(scope="module")
def explorer() -> Explorer:
    return Explorer([styled(classes=3), plain(), writer()])


def test_models_are_known_by_what_they_can_do(explorer: Explorer) -> None:
    with_styles, without, text = explorer.models
    assert explorer.pictured == [with_styles, without] and explorer.styled == [with_styles]
    assert explorer.writing == [text] and explorer.classes() == ["a", "b", "c"]


def test_what_is_shown_is_what_the_commands_make(explorer: Explorer) -> None:
    model, without, _ = explorer.models
    found = explorer.samples(model, seed=3, n=5, cls="b", truncation=0.5)
    expected = model.sample(5, seed=3, class_label="b", truncation=0.5)
    assert isinstance(expected, torch.Tensor) and np.array_equal(found, shown(expected, 5))
    assert model.generator.truncation == 1  # type: ignore[comparison-overlap]
    of_all = without.sample(9, seed=3)
    assert isinstance(of_all, torch.Tensor)
    assert np.array_equal(explorer.samples(without, seed=3, n=9, cls="b", truncation=0.5), shown(of_all, 8))
    places = [Keyframe(1, "a"), Keyframe(2, "c")]
    way = explorer.way(model, seeds=(1, 2), classes=("a", "c"), steps=4, way="spline")
    assert np.array_equal(way, shown(interpolate(model, places, 4, "spline"), 4))
    round_way = explorer.way(without, seeds=(1, 2), classes=("a", None), steps=4, way="spline")
    assert np.array_equal(round_way, shown(interpolate(without, [Keyframe(1), Keyframe(2)], 4, "sphere"), 4))
    mixed = explorer.mix(model, rows=0, columns=7, layers=(1, 2), cls="a")
    assert np.array_equal(mixed, shown(style_mix(model, range(3), range(7, 13), range(1, 3), "a"), 7))
    moved = explorer.along(model, seed=4, method="sefa", number=2, strength=1.5, cls="a")
    start = latents_of(model, range(4, 12), "a")
    there = find_directions(model, "sefa", count=8).move(start, 1, torch.tensor([1.5]))
    assert np.array_equal(moved, shown(torch.cat([pictures(model, start), pictures(model, there)]), 8))


def test_layers_that_are_truncated(explorer: Explorer) -> None:
    model, without, _ = explorer.models
    every = model.sample(2, seed=3, truncation=0.2)
    some = model.sample(2, seed=3, truncation=0.2, truncation_layers=range(2))
    assert isinstance(every, torch.Tensor) and isinstance(some, torch.Tensor) and not torch.equal(every, some)
    assert model.generator.truncation_layers is None
    last = model.generator.layers  # type: ignore[union-attr]
    of_all = model.sample(2, seed=3, truncation=0.2, truncation_layers=range(len(last) + 1))  # type: ignore[arg-type]
    assert isinstance(of_all, torch.Tensor) and torch.equal(of_all, every)
    with pytest.raises(UsageError, match=r"truncation_layers: \[9\]; the generator has layers 0 to 5"):
        model.sample(1, truncation=0.2, truncation_layers=[9])
    with pytest.raises(UsageError, match="'dcgan' has no styles by layer; stylegan2 has"):
        without.sample(1, truncation_layers=[0])


def test_sentences(explorer: Explorer) -> None:
    model = explorer.models[2]
    found = explorer.write(model, seed=1, n=3, temperature=0.7, prefix="the cat", prompt="")
    assert found == model.sample(3, seed=1, temperature=0.7, prefix="the cat")
    assert all(line.startswith("the cat") for line in found)
    with pytest.raises(UsageError, match="prompt: writer learnt from no prompts"):
        explorer.write(model, seed=1, n=3, temperature=1, prefix="", prompt="x")


def test_what_cannot_be_shown_is_said(explorer: Explorer) -> None:
    with pytest.raises(UsageError, match="explore: name a run"):
        Explorer([])
    with pytest.raises(UsageError, match=r"direction 9: own has 1 to \d"):
        explorer.along(explorer.models[1], seed=0, method="sefa", number=9, strength=1, cls=None)
    with pytest.raises(UsageError, match="--method"):
        explorer.along(explorer.models[1], seed=0, method="nearest", number=1, strength=1, cls=None)


def test_without_gradio_the_command_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    monkeypatch.setattr("gan_dist.generation.explore_page.find_spec", lambda name: None)
    code, _, complaint = cli("explore", "last")
    assert code == 2 and "explore wants Gradio: pip install 'gan-dist[explore]'" in complaint
    with pytest.raises(UsageError, match="wants Gradio"):
        check_gradio()


@pytest.fixture
def page(explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("gradio", reason="needs gan-dist[explore]")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    served, url = serve_page(explorer)
    yield url
    served.close(verbose=False)


@pytest.mark.slow
def test_the_page_is_on_loopback_alone(page: str) -> None:
    port = int(page.rpartition(":")[2])
    assert page == f"http://127.0.0.1:{port}"
    with socket.socket() as probe:
        probe.settimeout(5)
        assert probe.connect_ex(("127.0.0.1", port)) == 0
    own = socket.gethostbyname(socket.gethostname())
    if own != "127.0.0.1":
        with socket.socket() as probe:
            probe.settimeout(5)
            assert probe.connect_ex((own, port)) != 0


@pytest.mark.slow
def test_a_taken_port_is_told(page: str, explorer: Explorer) -> None:
    with pytest.raises(UsageError, match=r"--port \d+: "):
        serve_page(explorer, int(page.rpartition(":")[2]))


@pytest.mark.slow
def test_tabs_are_those_that_some_model_can_fill(explorer: Explorer) -> None:
    pytest.importorskip("gradio", reason="needs gan-dist[explore]")

    def tabs(models: list[Model]) -> list[str]:
        found = make_page(Explorer(models)).blocks.values()
        return [one.label for one in found if type(one).__name__ == "Tab"]

    every, text = explorer.models, explorer.models[2:]
    assert tabs(every) == ["Samples", "Interpolation", "Directions", "Style mixing", "Sentences"]
    assert tabs(text) == ["Sentences"] and tabs(every[1:2]) == ["Samples", "Interpolation", "Directions"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("selenium") is None or not (BROWSER and DRIVER), reason="needs selenium and Chromium")
def test_a_person_in_a_browser(page: str) -> None:
    """Both models' pictures appear, change with the seed, and an error is told in words."""
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000"):
        options.add_argument(word)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        wait = WebDriverWait(driver, 60)
        driver.get(page)

        def shown_by(selector: str, at: int = 0) -> Any:
            found = [one for one in driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]
            return found[at] if len(found) > at else None

        def type_into(box: Any, text: str) -> None:
            box.send_keys(Keys.CONTROL, "a")
            box.send_keys(text)

        def sources() -> list[str]:
            return [one.get_attribute("src") for one in driver.find_elements(By.CSS_SELECTOR, "img[src*='file=']")]

        first = wait.until(lambda _: len(sources()) >= 2 and sources()[:2])
        assert driver.title == "gan-dist explore"
        type_into(shown_by("input[type=number]"), "7")
        wait.until(lambda _: len(sources()) >= 2 and not set(sources()[:2]) & set(first))
        hosts = driver.execute_script(
            "return performance.getEntriesByType('resource').map(one => new URL(one.name).hostname)"
        )
        assert set(hosts) == {"127.0.0.1"}
        tabs = {one.text: one for one in driver.find_elements(By.CSS_SELECTOR, "button[role='tab']") if one.text}
        assert list(tabs) == ["Samples", "Interpolation", "Directions", "Style mixing", "Sentences"]
        tabs["Sentences"].click()
        prefix, lines = (wait.until(lambda _, at=at: shown_by("textarea", at)) for at in (0, 1))
        wait.until(lambda _: len(lines.get_attribute("value").splitlines()) == 12)
        type_into(prefix, "the cat")
        wait.until(lambda _: lines.get_attribute("value").startswith("the cat"))
        type_into(prefix, "zebra")
        wait.until(lambda _: "'zebra' is not among the" in driver.find_element(By.TAG_NAME, "body").text)
    finally:
        driver.quit()
