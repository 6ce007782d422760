"""The gallery: trains small models on a CPU, draws their pictures, and writes the page that names every command.

    python benchmarks/gallery.py prepare WORK              # makes the pairs of edges and pictures
    python benchmarks/gallery.py train WORK [NAME ...]     # one run after the other, in this process
    python benchmarks/gallery.py draw WORK [NAME ...]      # the pictures, and .github/gallery/README.md

WORK is a folder that holds the data of which samples are shown:

    watercolours/   pictures of fruit in a folder for each kind (the USDA's pomological watercolours, 64 pixels)
    stories.txt     a sentence of folk tales a line

Both are in the public domain. A run is repeated exactly by its commands; another machine ends with
pictures of the same kind, not with the same ones.
"""

from __future__ import annotations

import json
import os
import pty
import random
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / ".github" / "gallery"
KINDS = ("cherries", "grapes", "lemons", "oranges", "peaches", "pears", "plums", "strawberries")
HELD_OUT = 20  # every twentieth pair is kept from training
ACROSS = 10
SENTENCES = 10
EDGE, GAP, LABEL = 64, 2, 92
WORDS_ACROSS = 92
WIDE = 760  # pixels of pictures that are put together
PORT = "7870"  # of the page that is shown
GUTTER = 4  # pixels between the rows of a run's grid


@dataclass(frozen=True)
class Exhibit:
    """One run and its pictures.

    Attributes:
        name: of the run.
        title: of its part of the page.
        about: what is to be seen.
        data: in words.
        train: the command that trains it.
        draw: the commands that draw it, run where the data are.
        pictures: what is made of their output: file of the gallery -> function of the working folder that gives it.
    """

    name: str
    title: str
    about: str
    data: str
    train: str
    draw: tuple[str, ...]
    pictures: dict[str, Callable[[Path, Path], None]]


def edges(picture: Image.Image) -> Image.Image:
    """Dark outlines on white."""
    grey = picture.convert("L").filter(ImageFilter.GaussianBlur(1)).filter(ImageFilter.FIND_EDGES)
    whole = ImageOps.crop(grey, 1).resize(picture.size)  # the filter frames the picture
    return ImageOps.invert(ImageOps.autocontrast(whole, cutoff=(0, 2))).convert("RGB")


def make_pairs(work: Path) -> None:
    """Write `pairs/train` and `pairs/test`, the picture on the left and its edges on the right, and `edges/`."""
    for folder in ("pairs/train", "pairs/test", "edges"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    found = [path for kind in KINDS for path in sorted((work / "watercolours" / kind).glob("*.jpg"))]
    for number, path in enumerate(found, 1):
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        name, outline = f"{path.parent.name}-{path.stem}.png", edges(picture)
        both = Image.new("RGB", (2 * picture.width, picture.height))
        both.paste(picture, (0, 0))
        both.paste(outline, (picture.width, 0))
        both.save(work / "pairs" / ("train" if number % HELD_OUT else "test") / name)
        if not number % HELD_OUT:
            outline.save(work / "edges" / name)


def as_webp(drawn: str) -> Callable[[Path, Path], None]:
    """Store a drawn picture as it is, but small."""

    def store(work: Path, target: Path) -> None:
        with Image.open(work / drawn) as picture:
            picture.convert("RGB").save(target, quality=82, method=6)

    return store


def beside(*drawn: str) -> Callable[[Path, Path], None]:
    """Store drawn pictures one below the other, equally wide."""

    def store(work: Path, target: Path) -> None:
        pictures = []
        for name in drawn:
            with Image.open(work / name) as opened:
                high = round(opened.height * WIDE / opened.width)
                pictures.append(opened.convert("RGB").resize((WIDE, high), Image.Resampling.LANCZOS))
        sheet = Image.new("RGB", (WIDE, sum(one.height for one in pictures)), "white")
        for number, picture in enumerate(pictures):
            sheet.paste(picture, (0, sum(one.height for one in pictures[:number])))
        sheet.save(target, quality=80, method=6)

    return store


def class_rows(name: str, classes: str) -> Callable[[Path, Path], None]:
    """Store the last grid that a run wrote while it trained, with the class beside each row, in two columns of rows."""

    def store(work: Path, target: Path) -> None:
        (run,) = (work / "runs").glob(f"{name}-*")
        with Image.open(max(path for path in (run / "grids").glob("0*.png"))) as opened:
            grid = opened.convert("RGB")
        kinds = sorted(path.name for path in (work / classes).iterdir() if path.is_dir())
        high, rows = (grid.height + GUTTER) // len(kinds), -(-len(kinds) // 2)
        sheet = Image.new("RGB", (2 * (grid.width + LABEL), rows * high), "white")
        pen = ImageDraw.Draw(sheet)
        for number, kind in enumerate(kinds):
            left, top = number // rows * (grid.width + LABEL), number % rows * high
            pen.text((left + 4, top + high // 2 - 7), kind, fill="black", font=ImageFont.load_default(14))
            bottom = min((number + 1) * high, grid.height)
            sheet.paste(grid.crop((0, number * high, grid.width, bottom)), (left + LABEL, top))
        sheet.save(target, quality=80, method=6)

    return store


def as_small_gif(drawn: str) -> Callable[[Path, Path], None]:
    """Store a GIF with fewer pixels and colours."""

    def store(work: Path, target: Path) -> None:
        with Image.open(work / drawn) as film:
            frames = [_frame(film, place) for place in range(film.n_frames)]  # type: ignore[attr-defined]
        frames[0].save(target, save_all=True, append_images=frames[1:], duration=90, loop=0, optimize=True)

    return store


def _frame(film: Image.Image, place: int) -> Image.Image:
    film.seek(place)
    return film.convert("RGB").resize((128, 128)).quantize(32)


def triples(work: Path, target: Path) -> None:
    """Rows of edges that were kept from training, of what the run made of them, and of the pictures they come from."""
    names = sorted(path.name for path in (work / "edges").glob("*.png"))
    random.Random(1).shuffle(names)
    names = names[: 2 * ACROSS]
    cell, rows = EDGE + GAP, 3
    sheet = Image.new("RGB", (ACROSS * cell, 2 * (rows * cell + 3 * GAP)), "white")
    for number, name in enumerate(names):
        left, top = number % ACROSS * cell, number // ACROSS * (rows * cell + 3 * GAP)
        with Image.open(work / "pairs" / "test" / name) as both:
            real, outline = both.crop((0, 0, EDGE, EDGE)), both.crop((EDGE, 0, 2 * EDGE, EDGE))
        with Image.open(work / "made" / name) as made:
            for row, picture in enumerate((outline, made.convert("RGB"), real)):
                sheet.paste(picture, (left, top + row * cell))
    sheet.save(target, quality=85, method=6)


def sentences(work: Path, target: Path) -> None:
    """A table of generated sentences beside real ones, both drawn at random."""
    made = (work / "tales.txt").read_text().splitlines()[:SENTENCES]
    told = [line for line in (work / "stories.txt").read_text().splitlines() if 4 <= len(line.split()) <= 20]
    real = random.Random(0).sample(told, SENTENCES)
    rows = [
        f"| {escape(one, quote=False)} | {escape(other, quote=False)} |" for one, other in zip(made, real, strict=True)
    ]
    target.write_text("\n".join(["| generated | real |", "|---|---|", *rows]) + "\n")


def explored(*runs: str) -> Callable[[Path, Path], None]:
    """Store `gan-dist explore` as Chromium shows it (Debian's chromium and chromium-driver, and selenium)."""

    def store(work: Path, target: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support.ui import WebDriverWait

        options = webdriver.ChromeOptions()
        for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1180,720"):
            options.add_argument(word)
        command = ["gan-dist", "explore", *runs, "--port", PORT]
        with subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, text=True) as served:
            try:
                assert served.stdout is not None
                url = served.stdout.readline().split()[0]
                driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
                driver.get(url)
                images = (By.CSS_SELECTOR, "img[src*='file=']")
                WebDriverWait(driver, 120).until(lambda _: len(driver.find_elements(*images)) >= len(runs))
                driver.save_screenshot(str(work / "explore.png"))
                driver.quit()
            finally:
                served.terminate()
        as_webp("explore.png")(work, target)

    return store


def recording(work: Path, target: Path) -> None:
    """The first command as a terminal shows it, as SVG by rich."""
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console
    from rich.text import Text

    told = (work / "first.txt").read_text().replace(str(work.resolve()), "~/gans")
    # Without the fonts that rich's form fetches from the network.
    form = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=100, file=nowhere, force_terminal=True)
        for line in told.splitlines():
            console.print(Text.from_ansi(line), overflow="ellipsis", no_wrap=True)
    target.write_text(console.export_svg(title="the first command", code_format=form))


EXHIBITS = (
    Exhibit(
        name="fruit",
        title="Fruit by class",
        about="One conditional DCGAN: a row of its last grid for each kind of fruit, and a walk through noise and "
        "classes.",
        data="7,580 watercolours of fruit in 14 classes, 32 pixels (USDA pomological watercolours, public domain)",
        train="gan-dist submit jobs/dcgan-conditional.yaml --local -o name=fruit -o data.source=watercolours/ "
        "-o data.size=32 -o data.labels=folders -o data.class_weights=equal -o data.xflip=true "
        "-o 'penalties=[{use: r1, gamma: 1.0, every: 4}]' -o until=300k",
        draw=(
            "gan-dist sample fruit --interpolate sphere --seed 1-4 --class apples,oranges,plums,grapes --steps 12 "
            "--out fruit.gif --force",
        ),
        pictures={"fruit.webp": class_rows("fruit", "watercolours"), "fruit.gif": as_small_gif("fruit.gif")},
    ),
    Exhibit(
        name="painted",
        title="Outlines painted",
        about="pix2pix paints fruit. Each block has outlines that were kept from training, what the network made of "
        "them, and the pictures they come from.",
        data="2,660 pairs of outlines and watercolours, 64 pixels; the outlines are made by `prepare`",
        train="gan-dist submit jobs/pix2pix.yaml --local -o name=painted -o data.source=pairs/train -o data.side=right "
        "-o data.size=64 -o generator.width=24 -o discriminator.width=24 -o batch=16 -o optimizer.lr=2e-4 -o until=24k "
        "-o objective.0.fakes=fresh",
        draw=("gan-dist sample painted --inputs edges --out made --force",),
        pictures={"painted.webp": triples},
    ),
    Exhibit(
        name="peaches",
        title="Peaches",
        about="A very small R3GAN.",
        data="959 watercolours of peaches, 32 pixels (USDA pomological watercolours, public domain)",
        train="gan-dist submit jobs/r3gan.yaml --local -o name=peaches -o data.source=watercolours/peaches "
        "-o data.size=32 -o data.xflip=true -o until=30k",
        draw=("gan-dist sample peaches --n 40 --out peaches.png --force",),
        pictures={"peaches.webp": as_webp("peaches.png")},
    ),
    Exhibit(
        name="tales",
        title="Sentences",
        about="Ten generated sentences beside ten real ones. An LSTM learnt by likelihood, then with ScratchGAN's "
        "rewards.",
        data="4,058 sentences of folk tales of at most 24 tokens (public domain)",
        train="gan-dist submit jobs/manual.yaml --local -o name=tales -o data.source=stories.txt -o data.length=24 "
        "-o data.too_long=reject -o data.max_rejected=0.7 -o 'metrics=[]' "
        "-o 'stages.0.for=16 epochs' -o 'stages.0.optimizer.lr={cosine: {from: 3e-3, to: 3e-4, over: 16 epochs}}'",
        draw=("gan-dist sample tales --n 10 --seed 1 --temperature 0.7 --out tales.txt --force",),
        pictures={"tales.md": sentences},
    ),
    Exhibit(
        name="search",
        title="A sweep",
        about="Which learning rates, width and average? Each line is a configuration, the best ones in colour; below "
        "are their samples.",
        data="1,797 handwritten digits, part of scikit-learn",
        train="gan-dist submit jobs/sweep-dcgan-digits.yaml --local -o name=search -o sweep.trials=8 -o until=80k",
        draw=("gan-dist results search --plots plots/",),
        pictures={"search.webp": beside("plots/curves.png", "plots/grids.png")},
    ),
    Exhibit(
        name="dcgan-digits",
        title="The first command",
        about="A run as a terminal shows it, without the lines of progress.",
        data="1,797 handwritten digits, part of scikit-learn",
        train="gan-dist submit jobs/dcgan.yaml --local -o until=20k",
        draw=(),
        pictures={"first.svg": recording},
    ),
    Exhibit(
        name="digits",
        title="A page to try runs on",
        about="`gan-dist explore digits dcgan-digits`: both runs beside each other, with the seed, the class and the "
        "number of samples of your choice.",
        data="1,797 handwritten digits, part of scikit-learn",
        train="gan-dist submit jobs/dcgan-conditional.yaml --local -o name=digits -o until=100k -o 'metrics=[]'",
        draw=(),
        pictures={"explore.webp": explored("digits", "dcgan-digits")},
    ),
)


def chosen(names: list[str]) -> Iterator[Exhibit]:
    known = {one.name: one for one in EXHIBITS}
    for name in names or known:
        if name not in known:
            raise SystemExit(f"no exhibit {name!r}; there are {', '.join(known)}")
        yield known[name]


def run(command: str, work: Path) -> str:
    """A command in the working folder, at a terminal of its own; what it printed."""
    print(f"$ {command}", flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm-256color", "COLUMNS": "100"}
    primary, terminal = pty.openpty()
    process = subprocess.Popen(
        shlex.split(command), cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    printed = b""
    while True:
        try:
            piece = os.read(primary, 1 << 16)
        except OSError:  # the terminal closes with its last writer
            break
        printed += piece
        sys.stdout.buffer.write(piece)
        sys.stdout.flush()
        if not piece:
            break
    if process.wait():
        raise SystemExit(f"{command}: exit code {process.returncode}")
    return printed.decode(errors="replace")


def train(one: Exhibit, work: Path) -> None:
    if not (work / "jobs").exists():
        (work / "jobs").symlink_to(ROOT / "jobs")
    printed = run(one.train, work)
    (work / f"{one.name}-train.txt").write_text(printed)
    if one.name == "dcgan-digits":
        (work / "first.txt").write_text(f"$ {one.train}\n{_settled(printed)}")


def _settled(printed: str) -> str:
    """What stays on screen of a live display, which draws its lines over and over."""
    lines = [line.rsplit("\r", 1)[-1] for line in printed.replace("\r\n", "\n").splitlines()]
    return "\n".join(line for line in lines if line.strip() and "samples/s" not in line)


def draw(one: Exhibit, work: Path) -> None:
    for command in one.draw:
        run(command, work)
    GALLERY.mkdir(parents=True, exist_ok=True)
    for name, make in one.pictures.items():
        make(work, GALLERY / name)
    told = subprocess.run(["gan-dist", "results", one.name, "--json"], cwd=work, capture_output=True, check=True)
    facts = GALLERY / "runs.json"
    known = json.loads(facts.read_text()) if facts.exists() else {}
    known[one.name] = measured(json.loads(told.stdout))
    facts.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def measured(results: dict[str, object]) -> dict[str, object]:
    """What the page says of a run: images or sentences seen, minutes, versions and machine."""
    seconds = results.get("training_s", results.get("seconds", 0.0))
    assert isinstance(seconds, float | int)
    return {
        "status": results["status"],
        "seen": results.get("seen"),
        "minutes": round(seconds / 60, 1),
        "torch": dict(results.get("versions") or {}).get("torch"),  # type: ignore[call-overload]
        "cpu": dict(results.get("machine") or {}).get("cpu"),  # type: ignore[call-overload]
    }


def folded(command: str) -> str:
    """A command over as many lines as it needs, broken before its options."""
    lines = [""]
    for words in re.split(r" (?=-)", command):
        if len(lines[-1]) + len(words) > WORDS_ACROSS:
            lines.append("")
        lines[-1] += f" {words}" if lines[-1] else words
    return " \\\n    ".join(lines)


def page() -> str:
    """The gallery's page: every picture, what it is of, and under it its commands."""
    known = json.loads((GALLERY / "runs.json").read_text())
    parts = [
        "# Gallery",
        "Every picture is of a run of the commands under it, in one process and one thread of a CPU that other work "
        "shared. `python benchmarks/gallery.py` runs them; its first lines say which data it needs.",
    ]
    for one in EXHIBITS:
        if one.name not in known:
            continue
        facts = known[one.name]
        seen = f"{facts['seen']:,} samples seen, " if facts["seen"] else ""
        parts += [f"## {one.title}", one.about, f"Data: {one.data}. {seen}{facts['minutes']} minutes."]
        for name in one.pictures:
            parts.append((GALLERY / name).read_text().strip() if name.endswith(".md") else f"![{one.about}]({name})")
        parts.append("\n".join(["```console", *(f"$ {folded(command)}" for command in (one.train, *one.draw)), "```"]))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1] not in ("prepare", "train", "draw"):
        raise SystemExit(textwrap.dedent(__doc__ or ""))
    task, work, names = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    if task == "prepare":
        make_pairs(work)
        return
    for one in chosen(names):
        (train if task == "train" else draw)(one, work)
    if task == "draw":
        (GALLERY / "README.md").write_text(page())


if __name__ == "__main__":
    main()
