"""A hook of mkdocs: gives the site the pages and pictures that lie outside the manual's folder.

The README is the first page, with the gallery in it. Links between these files are those of the repository; here they
become links of the site.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / ".github" / "gallery"
# Page of the site -> file of the repository.
PAGES = {
    "index.md": "README.md",
    "gallery/index.md": ".github/gallery/README.md",
    "changelog.md": "CHANGELOG.md",
    "architecture.md": ".github/ARCHITECTURE.md",
    "contributing.md": ".github/CONTRIBUTING.md",
}
COPIED = {"cluster.yaml": "cluster.yaml", "CITATION.cff": "CITATION.cff", "LICENSE.txt": "LICENSE"}
LINK = re.compile(r"(\]\()([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=with_links_of_the_site(page, source)))
    for name, source in COPIED.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    for path in GALLERY.iterdir():
        if path.suffix in (".webp", ".gif", ".svg"):
            files.append(File.generated(config, f"gallery/{path.name}", abs_src_path=str(path)))
    return files


def with_links_of_the_site(page: str, source: str) -> str:
    """A file's text, each link to another file of the repository led to where that is on the site."""
    here = (ROOT / source).parent
    up = "../" * page.count("/")

    def led(match: re.Match[str]) -> str:
        target = match[2]
        if "://" in target:
            return match[0]
        return match[1] + up + place_of((here / target).resolve().relative_to(ROOT).as_posix())

    return LINK.sub(led, (ROOT / source).read_text())


def place_of(path: str) -> str:
    """Where a file of the repository is on the site."""
    known = {source: page for page, source in (PAGES | COPIED).items()}
    if path in known:
        return known[path]
    return path.removeprefix("gan_dist/docs/").removeprefix(".github/")
