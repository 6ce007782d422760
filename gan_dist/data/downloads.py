"""What `gan-dist download` fetches: public data sets, which a job names as `download:NAME`, and the weights of networks
that others trained, which features and perceptual parts find by themselves.

HOME/downloads/NAME/FILE    files that are whole: each is moved here after it was checked, or put here by hand
TORCH_HOME/hub/checkpoints/ weights: where torch keeps its own downloads, so that no file is there twice
HOME/downloads/files.json   their SHA-256, with the size and time of change at which they had it
HOME/downloads/partial/     what is being fetched
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gan_dist.errors import DataError, DataNotFound, StorageError
from gan_dist.runs.storage import Folder, home
from gan_dist.spec.data import DOWNLOAD, DataSection
from gan_dist.spec.problems import suggestion

RETRIES = 2
TIMEOUT_S = 30
CHUNK_BYTES = 1 << 20
ABANDONED_S = 24 * 3600
RECORDS = "files.json"
_Data = TypeVar("_Data", bound=DataSection)
Progress = Callable[[str, int, int], None]  # a file, its bytes that are here, and those it will have; 0: nobody knows


@dataclass(frozen=True)
class RemoteFile:
    """One file of what is fetched.

    Attributes:
        name: what it is called here.
        size: bytes; about that many where not the whole checksum is known.
        checksum: as its publisher gives it, `md5:...` or `sha256:...`, of which the first digits will do; empty where
            nobody does.
    """

    name: str
    url: str
    size: int
    checksum: str = ""

    @property
    def exact(self) -> bool:
        """Whether the whole checksum is known."""
        kind, _, digits = self.checksum.partition(":")
        return bool(kind) and len(digits) == 2 * hashlib.new(kind).digest_size


@dataclass(kw_only=True, frozen=True)
class Download:
    """Files that can be fetched.

    Attributes:
        about: what it is, in a few words.
        licence: under which terms it is published.
        page: where its authors say more.
        files: all that it has.
    """

    name: str
    about: str
    licence: str
    page: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def folder(self) -> Path:
        """Where the files are looked for."""
        return downloads() / self.name

    def path(self, file: RemoteFile) -> Path:
        """Where a file belongs, whoever puts it there."""
        return self.folder / file.name

    @property
    def missing(self) -> tuple[RemoteFile, ...]:
        """The files that are not there."""
        return tuple(file for file in self.files if not self.path(file).is_file())


@dataclass(kw_only=True, frozen=True)
class PublicDataset(Download):
    """A data set that can be fetched.

    Attributes:
        data: the job's `data:` section that reads it.
        job: arguments of `gan-dist submit` for a shipped job that learns from it.
        main: the file that its name alone stands for; empty where that is the folder of all.
        torchvision: the data set of torchvision that unpacks and reads it; empty where we do.
    """

    data: str
    job: str
    main: str = ""
    torchvision: str = ""

    @property
    def folder(self) -> Path:
        """Where the files are looked for: torchvision has a place of its own."""
        return home() / "torchvision" if self.torchvision else super().folder


@dataclass(kw_only=True, frozen=True)
class PretrainedWeights(Download):
    """Weights of a network that others trained.

    Attributes:
        use: how a job looks through it.
    """

    use: str

    @property
    def folder(self) -> Path:
        return hub_checkpoints()


def hub_checkpoints() -> Path:
    """Where torch keeps the weights that it downloads: what `torch.hub.get_dir` says, without its import."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser() / "hub" / "checkpoints"


_TEXYGEN = "https://raw.githubusercontent.com/geek-ai/Texygen/3104e22ac75f3cc2070da2bf5e2da6d2bef149ad/data"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
_CHAR_RNN = "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data"
_IDX = (
    ("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    ("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
    ("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
    ("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
)

DATASETS = (
    PublicDataset(
        name="mnist",
        about="70,000 handwritten digits of 28x28 pixels, 60,000 of them to learn from",
        licence="CC BY-SA 3.0, Yann LeCun and Corinna Cortes",
        page="http://yann.lecun.com/exdb/mnist/",
        files=tuple(RemoteFile(name, f"{_MNIST}/{name}", size, f"md5:{md5}") for name, size, md5 in _IDX),
        data="{source: download:mnist, size: 32, labels: source}",
        job="jobs/dcgan-conditional.yaml -o data.source=download:mnist -o data.size=32",
    ),
    PublicDataset(
        name="cifar-10",
        about="60,000 photographs of 32x32 pixels in ten classes, 50,000 of them to learn from",
        licence="none is stated; its page asks to cite Krizhevsky 2009",
        page="https://www.cs.toronto.edu/~kriz/cifar.html",
        files=(
            RemoteFile(
                name="cifar-10-python.tar.gz",
                url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                size=170_498_071,
                checksum="md5:c58f30108f718f92721af3b95e74349a",
            ),
        ),
        data="{source: download:cifar-10, size: 32, labels: source}",
        job="jobs/biggan.yaml -o data.source=download:cifar-10",
        torchvision="CIFAR10",
    ),
    PublicDataset(
        name="afhq",
        about="15,803 faces of cats, dogs and wild animals of 512x512 pixels (AFHQ v2)",
        licence="CC BY-NC 4.0, NAVER Corp.",
        page="https://github.com/clovaai/stargan-v2",
        files=(RemoteFile("afhq_v2.zip", "https://www.dropbox.com/s/vkzjokiwof5h8w6/afhq_v2.zip?dl=1", 7_000_000_000),),
        data="{source: download:afhq, size: 64}",
        job="jobs/r3gan.yaml -o data.source=download:afhq -o data.size=64",
        main="afhq_v2.zip",
    ),
    PublicDataset(
        name="ffhq-thumbnails",
        about="70,000 faces of people of 128x128 pixels",
        licence="CC BY-NC-SA 4.0, NVIDIA; each picture its author's: CC BY, CC BY-NC or public domain",
        page="https://github.com/NVlabs/ffhq-dataset",
        files=(
            RemoteFile(
                name="thumbnails128x128.zip",
                url="https://huggingface.co/datasets/nuwandaa/ffhq128/resolve/main/thumbnails128x128.zip",
                size=2_100_000_000,
            ),
        ),
        data="{source: download:ffhq-thumbnails, size: 64}",
        job="jobs/r3gan.yaml -o data.source=download:ffhq-thumbnails -o data.size=64",
        main="thumbnails128x128.zip",
    ),
    PublicDataset(
        name="coco-captions",
        about="20,000 captions of photographs, a half of them held out, as the Texygen benchmark has them",
        licence="CC BY 4.0, COCO Consortium",
        page="https://github.com/geek-ai/Texygen",
        files=(
            RemoteFile(
                name="train.txt",
                url=f"{_TEXYGEN}/image_coco.txt",
                size=546_442,
                checksum="sha256:956de220df23d98c0056de7ea5d873f6868ec03dd3215bfb01d2056d5f3448ba",
            ),
            RemoteFile(
                name="test.txt",
                url=f"{_TEXYGEN}/testdata/test_coco.txt",
                size=536_184,
                checksum="sha256:f0987ef866c061f4cd4e65a6513f688372a3f3b00681c432a193d0b87cbfe87d",
            ),
        ),
        data="{modality: text, source: download:coco-captions, test: download:coco-captions/test.txt, length: 37}",
        job="jobs/mle-coco.yaml",
        main="train.txt",
    ),
    PublicDataset(
        name="emnlp-news",
        about="sentences of news, EMNLP 2017 WMT, as the Texygen benchmark has them; 10,000 are held out",
        licence="free for research, by the terms of the WMT17 translation task",
        page="https://github.com/geek-ai/Texygen",
        files=(
            RemoteFile("train.txt", f"{_TEXYGEN}/emnlp_news.txt", 49_000_000),
            RemoteFile(
                name="test.txt",
                url=f"{_TEXYGEN}/testdata/test_emnlp.txt",
                size=1_742_757,
                checksum="sha256:03c646d08f766f4140443db4419b1f0ee292bc0db514208873e9f2e166b95bd2",
            ),
        ),
        data="{modality: text, source: download:emnlp-news, test: download:emnlp-news/test.txt, length: 51, "
        "tokens: blanks}",
        job="jobs/relgan-news.yaml",
        main="train.txt",
    ),
    PublicDataset(
        name="tiny-shakespeare",
        about="40,000 lines of Shakespeare's plays",
        licence="public domain",
        page="https://github.com/karpathy/char-rnn",
        files=(
            RemoteFile(
                name="input.txt",
                url=f"{_CHAR_RNN}/tinyshakespeare/input.txt",
                size=1_115_394,
                checksum="sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
        data="{modality: text, source: download:tiny-shakespeare, length: 32, tokens: characters, too_long: cut}",
        job="jobs/wgan-gp-characters.yaml",
        main="input.txt",
    ),
)


_TORCH = "https://download.pytorch.org/models"
_FIDELITY = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0"
_CLIP = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
_DINOV2 = "https://huggingface.co/facebook/dinov2-large/resolve/47b73eefe95e8d44ec3623f8890bd894b6ea2d6c"

# Names of files have the first digits of their SHA-256, by the custom of torch.hub.
WEIGHTS = (
    PretrainedWeights(
        name="inception",
        about="Inception of 2015, by which FID, KID and the inception score are measured",
        licence="Apache-2.0, Google; converted by torch-fidelity",
        page="https://github.com/toshas/torch-fidelity",
        files=(
            RemoteFile(
                name="weights-inception-2015-12-05-6726825d.pth",
                url=f"{_FIDELITY}/weights-inception-2015-12-05-6726825d.pth",
                size=96_000_000,
                checksum="sha256:6726825d",
            ),
        ),
        use="metrics: [{use: frechet, features: inception, samples: 50k}]",
    ),
    PretrainedWeights(
        name="vgg16",
        about="VGG16, for improved precision and recall, path lengths and perceptual distances",
        licence="BSD-3-Clause, torchvision; trained on ImageNet, whose terms are for research",
        page="https://pytorch.org/vision/stable/models/vgg.html",
        files=(RemoteFile("vgg16-397923af.pth", f"{_TORCH}/vgg16-397923af.pth", 553_000_000, "sha256:397923af"),),
        use="metrics: [{use: prdc, features: vgg16, samples: 10k}]",
    ),
    PretrainedWeights(
        name="resnet50",
        about="ResNet-50, a judge of images that is neither Inception nor VGG",
        licence="BSD-3-Clause, torchvision; trained on ImageNet, whose terms are for research",
        page="https://pytorch.org/vision/stable/models/resnet.html",
        files=(RemoteFile("resnet50-0676ba61.pth", f"{_TORCH}/resnet50-0676ba61.pth", 103_000_000, "sha256:0676ba61"),),
        use="metrics: [{use: frechet, features: resnet50, samples: 10k}]",
    ),
    PretrainedWeights(
        name="dinov2",
        about="DINOv2 ViT-L/14, which learnt without labels and judges as people do",
        licence="Apache-2.0, Meta",
        page="https://huggingface.co/facebook/dinov2-large",
        files=(
            RemoteFile(
                name="dinov2-large-399fba97.safetensors",
                url=f"{_DINOV2}/model.safetensors",
                size=1_217_522_888,
                checksum="sha256:399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23",
            ),
        ),
        use="metrics: [{use: frechet, features: dinov2, samples: 10k}]",
    ),
    PretrainedWeights(
        name="clip",
        about="CLIP ViT-B/32, which learnt from pictures with captions",
        licence="MIT, OpenAI",
        page="https://github.com/openai/CLIP",
        files=(
            RemoteFile(
                name="ViT-B-32.pt",
                url=f"https://openaipublic.azureedge.net/clip/models/{_CLIP}/ViT-B-32.pt",
                size=354_000_000,
                checksum=f"sha256:{_CLIP}",
            ),
        ),
        use="metrics: [{use: kid, features: clip, samples: 10k}]",
    ),
    PretrainedWeights(
        name="lpips",
        about="AlexNet, through which LPIPS looks; its own small weights come with the package lpips",
        licence="BSD-3-Clause, torchvision; trained on ImageNet, whose terms are for research",
        page="https://github.com/richzhang/PerceptualSimilarity",
        files=(
            RemoteFile(
                "alexnet-owt-7be5be79.pth", f"{_TORCH}/alexnet-owt-7be5be79.pth", 244_000_000, "sha256:7be5be79"
            ),
        ),
        use="metrics: [{use: diversity, features: lpips, samples: 1k}]",
    ),
)


def downloads() -> Path:
    """The folder of everything that was fetched."""
    return home() / "downloads"


def find_dataset(name: str) -> PublicDataset:
    """The data set of a name.

    Raises:
        DataError: there is none; the nearest name is in the text.
    """
    by_name = {dataset.name: dataset for dataset in DATASETS}
    if name in {weights.name for weights in WEIGHTS}:
        raise DataError(f"{name!r} are weights of a network, and no data set; in metrics they are `features: {name}`")
    if name not in by_name:
        raise DataError(f"no data set {name!r} to download{suggestion(name, tuple(by_name))}")
    return by_name[name]


def find_download(name: str) -> PublicDataset | PretrainedWeights:
    """The data set or the weights of a name.

    Raises:
        DataError: there is neither; the nearest name is in the text.
    """
    by_name: dict[str, PublicDataset | PretrainedWeights] = {one.name: one for one in (*DATASETS, *WEIGHTS)}
    if name not in by_name:
        raise DataError(f"no data set or weights {name!r} to download{suggestion(name, tuple(by_name))}")
    return by_name[name]


def weights_file(name: str) -> RemoteFile:
    """The file of the weights of that name."""
    return next(one.files[0] for one in WEIGHTS if one.name == name)


def parse_download(source: str) -> tuple[PublicDataset, str]:
    """The data set of `download:NAME` or `download:NAME/FILE`, and the name of the file, empty where none is named.

    Raises:
        DataError: there is no such data set, or it has no such file.
    """
    name, _, wanted = source.removeprefix(DOWNLOAD).partition("/")
    dataset = find_dataset(name)
    names = [file.name for file in dataset.files]
    if wanted and wanted not in names:
        raise DataError(f"{name} has no file {wanted!r}{suggestion(wanted, names)}")
    return dataset, wanted


def resolve_download(source: str, key: str = "data.source") -> str:
    """What is read on this machine where a job says `download:NAME` or `download:NAME/FILE`; others as they are.

    Raises:
        DataNotFound: it was not downloaded here; the text has the command.
        DataError: there is no such data set or file, or a file of it is not what it has to be.
    """
    if not source.startswith(DOWNLOAD):
        return source
    try:
        dataset, wanted = parse_download(source)
    except DataError as error:
        raise DataError(f"{key}: {error}") from None
    if missing := dataset.missing:
        raise DataNotFound(
            f"{key}: {source!r}: {missing[0].name} is not in {dataset.folder} on {platform.node() or 'this machine'}; "
            f"get it there: gan-dist download {dataset.name}"
        )
    for file in dataset.files:
        check_file(dataset, file)
    if dataset.torchvision:
        return f"torchvision:{dataset.torchvision}"
    chosen = wanted or dataset.main
    return str(dataset.folder / chosen) if chosen else str(dataset.folder)


def with_local_source(data: _Data) -> _Data:
    """The same data with `source` as this machine reads it. Raises what `resolve_download` raises."""
    return data.model_copy(update={"source": resolve_download(data.source)})


def by_hand(dataset: Download, files: tuple[RemoteFile, ...]) -> str:
    """What to do without a network, a line for each file."""
    lines = [f"  {file.url} as {dataset.path(file)}" for file in files]
    return "\n".join(["without a network, put by hand (it is checked then):", *lines])


def download(dataset: Download, progress: Progress) -> None:
    """Fetch the files that are missing, and check all. What is whole is kept when a later one fails.

    Raises:
        DataNotFound: a file cannot be fetched; the text says where it is from and where it belongs.
        DataError: what came, or what was put here by hand, is not what it has to be.
        StorageError: the disk is full, or cannot be written.
    """
    for file in dataset.files:
        if dataset.path(file).is_file():
            check_file(dataset, file)
            continue
        try:
            _fetch(dataset, file, progress)
        except OSError as error:
            raise StorageError(f"{dataset.path(file)} cannot be written: {error.strerror or error}") from error


def check_file(dataset: Download, file: RemoteFile) -> None:
    """Check a file that is here; it is read only where it changed since it was last checked.

    Raises:
        DataError: it is not the one that was published, or, where nobody says which that is, that was first here.
        DataNotFound: it cannot be read.
    """
    try:
        _check(dataset, file)
    except OSError as error:
        raise DataNotFound(f"{dataset.path(file)} cannot be read: {error.strerror or error}") from error


def _check(dataset: Download, file: RemoteFile) -> None:
    path, place = dataset.path(file), f"{dataset.name}/{file.name}"
    now = path.stat()
    records = Folder.at(downloads()).read_json(RECORDS) or {}
    record: Mapping[str, Any] = records.get(place, {})
    if (record.get("size"), record.get("changed")) == (now.st_size, now.st_mtime_ns):
        return
    sha256 = _digest(path, "sha256")
    if problem := _wrong(path, file, record.get("sha256", ""), sha256):
        raise DataError(f"{path} {problem}; delete it, and run: gan-dist download {dataset.name}")
    records[place] = {"sha256": sha256, "size": now.st_size, "changed": now.st_mtime_ns}
    with suppress(StorageError):  # where the home is mounted for reading alone, it is read each time
        Folder.at(downloads()).write_json(RECORDS, records)


def _wrong(path: Path, file: RemoteFile, remembered: str, sha256: str) -> str:
    """What shows that a file is not the one it is called; empty where nothing does."""
    kind, _, published = file.checksum.partition(":")
    if published:
        found = sha256 if kind == "sha256" else _digest(path, kind)
        if found.startswith(published):
            return ""
        wanted = f"is {found}, not {published}" if file.exact else f"does not begin with {published}, but {found[:16]}"
        return f"is not the published file: its {checksum_name(kind)} {wanted}"
    if remembered and remembered != sha256:
        return f"is not the file that was here first: its SHA-256 is {sha256}, not {remembered}"
    with path.open("rb") as stream:
        head = stream.read(256).lstrip().lower()
    if not head or head.startswith((b"<!doctype html", b"<html")):
        return "is a web page and no data" if head else "is empty"
    return "is not whole: it is no zip archive" if path.suffix == ".zip" and not zipfile.is_zipfile(path) else ""


def checksum_name(kind: str) -> str:
    """`md5` and `sha256` as people write them."""
    return {"md5": "MD5", "sha256": "SHA-256"}[kind]


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


def _fetch(dataset: Download, file: RemoteFile, progress: Progress) -> None:
    """One file, into a folder aside; then it is moved to its place and checked. Raises OSError, DataError."""
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")  # else it tells of each try, among our lines
    aside = downloads() / "partial"
    for folder in (aside, dataset.folder):
        folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(aside)
    if (free := shutil.disk_usage(aside).free) < file.size:
        raise StorageError(
            f"{file.name} of {dataset.name} has {file.size / 1e6:,.0f} MB, but {aside} has room for "
            f"{free / 1e6:,.0f} MB; set GAN_DIST_HOME to a place with more"
        )
    with tempfile.TemporaryDirectory(dir=aside) as mine:
        fetcher = pooch.create(
            path=mine,
            base_url="",
            registry={file.name: file.checksum if file.exact else None},
            urls={file.name: file.url},
            retry_if_failed=RETRIES,
        )
        try:
            fetcher.fetch(file.name, downloader=_Downloader(partial(progress, file.name)))
        except requests.RequestException as error:
            raise DataNotFound(
                f"{file.name} of {dataset.name} cannot be fetched: {_reason(error)}\n{by_hand(dataset, (file,))}"
            ) from error
        except ValueError as error:
            raise DataError(
                f"{file.name} of {dataset.name} did not come as it was published: {error}\n{by_hand(dataset, (file,))}"
            ) from error
        whole = Path(mine) / file.name
        record = (Folder.at(downloads()).read_json(RECORDS) or {}).get(f"{dataset.name}/{file.name}", {})
        if problem := _wrong(whole, file, record.get("sha256", ""), _digest(whole, "sha256")):
            raise DataError(f"{file.url} {problem}\n{by_hand(dataset, (file,))}")
        beside = dataset.folder / f".{file.name}.part"  # the folder may be a link to another disk
        shutil.move(whole, beside)
        beside.replace(dataset.path(file))
    check_file(dataset, file)


def _remove_abandoned(aside: Path) -> None:
    """What downloads left that were killed, and that none still writes."""
    for left in aside.iterdir():
        with suppress(OSError):  # another download may just end
            changed = max(path.stat().st_mtime for path in (left, *left.iterdir()))
            if time.time() - changed > ABANDONED_S:
                shutil.rmtree(left)


class _Downloader:
    """What pooch calls for a file: over HTTP, telling how far it is, and refusing what ends too early."""

    def __init__(self, told: Callable[[int, int], None]) -> None:
        self.told, self.total, self.done = told, 0, 0

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        from pooch import HTTPDownloader

        self.done = 0
        # Uncompressed, so that the announced length is that of the file.
        fetch = HTTPDownloader(
            progressbar=self, chunk_size=CHUNK_BYTES, timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"}
        )
        fetch(url, output_file, pooch)
        came = Path(output_file).stat().st_size
        if self.total and came != self.total:
            raise ValueError(f"{came:,} of {self.total:,} bytes came")

    def update(self, count: int) -> None:
        self.done += count
        self.told(min(self.done, self.total or self.done), self.total)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        """Nothing is open."""


def _reason(error: Exception) -> str:
    """A network's error in a line."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}".rstrip()
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT_S} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection ended too early"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached; is there a network?"
    return str(error)
