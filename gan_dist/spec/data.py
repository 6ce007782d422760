"""What is learnt from, a section for each modality."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from gan_dist.spec.amounts import Amount, CountField
from gan_dist.spec.fields import (
    BYTE_PAIRS,
    WAYS,
    WEIGHTS,
    ClassWeights,
    Colour,
    Kept,
    Number,
    PromptCut,
    Section,
    Truth,
    Whole,
    is_own_name,
    parse_whole_number,
)
from gan_dist.spec.image_size import ImageSize
from gan_dist.spec.paths import absolute_path
from gan_dist.spec.problems import show_value, suggestion
from gan_dist.spec.sections import ComponentSpec

Modality = Literal["image", "text", "pair", "unpaired"]
MODALITIES = get_args(Modality)
ORACLE = "oracle"
MANUAL, JOKES = "manual", "pyjokes"
BUILT_IN_TEXTS = (MANUAL, JOKES)
SAME = "same"  # of data.inputs
DRAWN = ("shapes-plain", "shapes-striped")  # pictures that are drawn, of two domains
BUILT_IN = ("digits", *DRAWN, ORACLE, *BUILT_IN_TEXTS)
VALIDATION_SHARE = 0.05
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")
DOWNLOAD = "download:"
_SETS = ("torchvision:", f"{ORACLE}:", DOWNLOAD)
ARGS = "Arguments of a data set of your own; paths at `root`, `folder`, `file` or `path` are relative to where you are."
WITHOUT_CLASSES = ("none", "vectors")  # of data.labels
_PATHS = ("root", "folder", "file", "path")


def is_own_data(source: str) -> bool:
    """Whether a source is a person's own data set, `package.module:Name`."""
    return is_own_name(source) and not source.startswith(_SETS)


def _known(written: object) -> object:
    if written not in MODALITIES:
        raise ValueError(f"{show_value(written)} is not allowed{suggestion(str(written), MODALITIES)}")
    return written


def absolute_source(path: str) -> str:
    """A local path made absolute from where we are; names of sets and URIs as they are."""
    named = path in BUILT_IN or _SCHEME.match(path) or is_own_data(path)
    return path if named else str(absolute_path(path))


def _withabsolute_source(args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a data set whose paths another process finds."""
    paths = {key: value for key in _PATHS if isinstance(value := args.get(key), str)}
    return {**args, **{key: absolute_source(value) for key, value in paths.items()}}


def _token_count(written: object) -> int:
    """A whole number of tokens, also as `4k`. Raises ValueError."""
    if not isinstance(written, str):
        return parse_whole_number(written)
    found = Amount.parse(written)
    if found.unit != "samples":
        raise ValueError(f"{show_value(written)} is no number of tokens; write 4000 or 4k")
    return int(found.value)


TokenCount = Annotated[int, BeforeValidator(_token_count, json_schema_input_type=int | str)]


def _form(written: object) -> str:
    return "[keys]" if isinstance(written, Mapping | BaseModel) else "[name]"


# Of what is a name alone or has keys: which of them it is, so that problems are told of that one.
NAME_OR_KEYS = Discriminator(_form)
Name = Annotated[str, Field(min_length=1), Tag("[name]")]
ONE_OR_LIST = Discriminator(lambda written: "[list]" if isinstance(written, list | tuple) else "[one]")
Columns = Annotated[Annotated[str, Tag("[one]")] | Annotated[tuple[str, ...], Tag("[list]")], ONE_OR_LIST]


class DataSection(Section):
    """What every modality says about its data."""

    source: str = Field(min_length=1, description="Where the samples are.")
    ingest: Literal["auto", "device", "memory", "stream"] = Field(
        default="auto",
        description="Where batches come from: the accelerator, memory, or shards as they are read; auto goes by size.",
    )
    split: Literal["auto", "train", "test", "val", "all"] = Field(
        default="auto",
        description="Which part of data that come in folders or files named train, test and val: auto is train.",
    )
    window: Whole = Field(
        default=8,
        ge=1,
        description="How many shards a stream mixes at a time.",
        json_schema_extra={"unit": "shards"},
    )
    max_rejected: Number = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of samples that may be broken before the run is refused.",
        json_schema_extra={"unit": "fraction"},
    )

    def with_absolute_paths(self) -> Self:
        """The same data as another process finds them, that runs in another folder."""
        return self.model_copy(update={"source": absolute_source(self.source)})


class PictureData(DataSection):
    """What images and pairs of images say about their data."""

    size: ImageSize = Field(
        description="What images are resized to: N pixels high and wide, or [height, width].",
        json_schema_extra={"unit": "pixels"},
    )
    channels: Literal["auto", 1, 3, 4] = Field(
        default="auto", description="1 for grey, 3 for colour, 4 with transparency; auto takes what the images have."
    )
    fit: Literal["crop", "pad", "stretch"] = Field(
        default="crop", description="How images get the shape of `size`: cut to their centre, padded, or stretched."
    )
    background: Colour = Field(
        default="black", description="Colour under transparency and around padded images: a name or `#rrggbb`."
    )
    range: Annotated[
        Annotated[Literal["auto"], Tag("[one]")] | Annotated[tuple[Number, Number], Tag("[list]")], ONE_OR_LIST
    ] = Field(
        default="auto",
        description="Which values are black and white where files hold more than bytes, as `[0, 1]`; auto goes by "
        "their type and by the bulk of them.",
    )
    xflip: Truth = Field(default=False, description="Whether real images are mirrored at random.")

    @field_validator("range")
    @classmethod
    def _black_is_not_white(cls, found: Any) -> Any:
        if found != "auto" and found[0] == found[1]:
            raise ValueError(f"black and white are both {found[0]:g}; give two values, as [0, 4095]")
        return found


class CodecSpec(ComponentSpec):
    """An autoencoder of your own, and its arguments."""

    use: str = Field(description="Your own class, as `package.module:Name`.")

    @field_validator("use")
    @classmethod
    def _is_own(cls, written: str) -> str:
        if not is_own_name(written):
            raise ValueError(
                f"{written!r} is no class of your own, `package.module:Name`; a run or a folder stands at encode itself"
            )
        return written


class ImageData(PictureData):
    """Images to learn from."""

    modality: Annotated[Literal["image"], BeforeValidator(_known)] = Field(
        default="image", description="What a sample is."
    )
    source: str = Field(
        min_length=1,
        description="`digits` (built in; also `shapes-plain` and `shapes-striped`), a folder, archive or table of "
        "images, an array, or a prepared folder; a path relative to where you are, or a URI; `download:NAME` "
        "(`gan-dist download` lists them); or your own data set as `package.module:Name`.",
    )
    args: dict[str, Any] = Field(default_factory=dict, description=ARGS)
    encode: Annotated[Name | Annotated[CodecSpec, Tag("[keys]")], NAME_OR_KEYS] | None = Field(
        default=None,
        description="Learn latents in place of images, by this autoencoder: a run of `autoencoder`, a folder of "
        "diffusers' `AutoencoderKL`, or {use: package.module:Name}, your own; null for images.",
    )
    labels: Literal["none", "folders", "source", "vectors"] = Field(
        default="none",
        description="none, folders (a class per sub-folder), source (classes that the data set carries) or vectors "
        "(numbers that it carries for each sample).",
    )
    class_weights: ClassWeights = WEIGHTS

    @property
    def reads_labels(self) -> bool:
        """Whether the data set carries the labels."""
        return self.labels in ("source", "vectors")

    def with_absolute_paths(self) -> Self:
        encode = self.encode
        if isinstance(encode, CodecSpec):
            encode = encode.with_absolute_paths()
        elif encode and absolute_path(encode).exists():  # a run's id is no path, and stays as it is
            encode = absolute_source(encode)
        paths = {"source": absolute_source(self.source), "args": _withabsolute_source(self.args), "encode": encode}
        return self.model_copy(update=paths)

    @model_validator(mode="after")
    def _latents_are_not_mirrored(self) -> ImageData:
        if self.encode is not None and self.xflip:
            raise ValueError("xflip: latents cannot be mirrored; leave it or `encode` out")
        return self


class PairData(PictureData):
    """Pairs of images to learn from: what is given, and what is to be made of it."""

    modality: Literal["pair"] = Field(description="What a sample is: `pair`, a picture to be made of another one.")
    source: str = Field(
        min_length=1,
        description="A folder of the pictures that are to be made, or, without `inputs`, of files that hold both side "
        "by side; or a prepared folder. A path relative to where you are, or a URI.",
    )
    inputs: str | None = Field(
        default=None,
        description="A folder with the pictures they are made of, under the same names; `same`: each picture is made "
        "of itself, whatever images are read from; null: both are in one file.",
    )
    side: Literal["left", "right"] | None = Field(
        default=None,
        description="Which half of a file that holds both is the input; null is the left one of two squares.",
    )
    labels: ClassVar[Literal["none"]] = "none"

    @property
    def of_itself(self) -> bool:
        """Whether each picture is made of itself."""
        return self.inputs == SAME

    def with_absolute_paths(self) -> Self:
        inputs = self.inputs if self.of_itself else self.inputs and absolute_source(self.inputs)
        return self.model_copy(update={"source": absolute_source(self.source), "inputs": inputs})


class UnpairedData(PictureData):
    """Two domains of images: those of one are to look like those of the other, and no picture has a partner."""

    modality: Literal["unpaired"] = Field(
        description="What a sample is: `unpaired`, a picture of one domain to be made into one of another."
    )
    source: str = Field(
        min_length=1,
        description="The pictures that are translated: whatever images are read from; or, without `target`, a folder "
        "with the sub-folders `trainA` and `trainB` (and `testA`, `testB`); or a prepared folder.",
    )
    target: str | None = Field(
        default=None,
        description="The pictures that the results shall look like; null: `trainB` below `source`.",
    )
    labels: ClassVar[Literal["none"]] = "none"

    def with_absolute_paths(self) -> Self:
        target = self.target and absolute_source(self.target)
        return self.model_copy(update={"source": absolute_source(self.source), "target": target})


class TextData(DataSection):
    """Sentences to learn from."""

    modality: Literal["text"] = Field(description="What a sample is: `text`, a sentence.")
    source: str = Field(
        min_length=1,
        description="A text file with a sentence a line, a CSV, JSONL, JSON or Parquet file, a folder of them, or a "
        "prepared folder; a path relative to where you are, or a URI; `manual` (Python's own) or `pyjokes` (built in), "
        "`download:NAME` or `download:NAME/FILE` (`gan-dist download` lists them), `oracle` (sentences of a random "
        "LSTM; `oracle:FILE.npz` of a known one); or your own data set as `package.module:Name`.",
    )
    args: dict[str, Any] = Field(default_factory=dict, description=ARGS)
    test: Kept | None = Field(
        default=None,
        description="Sentences for `gan-dist evaluate` alone: training neither learns from them nor looks at them. A "
        "file, read as `source` is, or a share of the sentences.",
    )
    validation: Kept | None = Field(
        default=None,
        description="Sentences that metrics compare with while training goes on, and nothing is learnt from: a file, "
        "or a share of the sentences; null for 0.05 where `test` is given, else for none.",
    )
    length: Whole = Field(
        ge=2,
        le=4096,
        description="Most tokens of a sentence; longer ones are rejected, or cut.",
        json_schema_extra={"unit": "tokens"},
    )
    too_long: Literal["reject", "cut"] = Field(
        default="reject", description="What is done with longer sentences: they count as broken, or lose their end."
    )
    tokens: str = Field(
        default="words",
        min_length=1,
        description="What a token is: words (and punctuation), blanks (whatever stands between blanks), characters, "
        "treebank (as published protocols cut English), bpe (byte pairs, trained on the sentences), or a `tokenizers` "
        "JSON file of your own.",
    )
    lower: Truth = Field(default=False, description="Whether text becomes lower case.")
    min_count: Whole = Field(
        default=1,
        ge=1,
        description="How often a token must come to be known; rarer ones become `<unk>`.",
        json_schema_extra={"unit": "times"},
    )
    vocabulary: TokenCount | None = Field(
        default=None,
        ge=5,
        le=1_000_000,
        description="Most tokens that are known, the most frequent ones; null for all, and 4000 of byte pairs. Of an "
        "oracle: how many it has (5000).",
        json_schema_extra={"unit": "tokens"},
    )
    column: Columns | None = Field(
        default=None,
        description="Column of a table that holds the text, or a list of some that are joined; null takes `text`, or "
        "the only one of words.",
    )
    prompt: Annotated[Name | Annotated[PromptCut, Tag("[keys]")], NAME_OR_KEYS] | None = Field(
        default=None,
        description="What is given and not learnt to be written: the column of a table that holds it, or {first: 1 "
        "sentence} for the beginning of each text (sentences, questions, words or characters); null for nothing.",
    )
    prompt_length: Whole | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Most tokens of a prompt; longer ones are rejected, or lose their beginning; null for `length`.",
        json_schema_extra={"unit": "tokens"},
    )
    encoding: str | None = Field(
        default=None,
        description="How characters are stored, as Python names it; null goes by a byte-order mark, or else is UTF-8.",
    )
    labels: Literal["none", "folders", "files", "column", "source"] = Field(
        default="none",
        description="none, folders (a class per sub-folder), files (per file), column (of a table) or source (of your "
        "own data set).",
    )
    class_weights: ClassWeights = WEIGHTS
    label_column: str = Field(default="label", description="The column that `labels: column` reads.")
    count: CountField = Field(
        default=Amount(10_000),
        description="How many sentences are drawn from an oracle.",
        json_schema_extra={"unit": "sentences"},
    )

    def with_absolute_paths(self) -> Self:
        _, oracle, file = self.source.partition(f"{ORACLE}:")
        source = f"{oracle}{absolute_source(file)}" if oracle else absolute_source(self.source)
        tokens = absolute_source(self.tokens) if self.tokens.endswith(".json") else self.tokens
        kept = {"test": self.test, "validation": self.validation}
        files = {key: absolute_source(file) for key, file in kept.items() if isinstance(file, str)}
        return self.model_copy(
            update={"source": source, "tokens": tokens, "args": _withabsolute_source(self.args), **files}
        )

    @property
    def shares(self) -> dict[str, float]:
        """Which share of the sentences is kept from training for `test` and `validation`, where no file is named."""
        validation = self.validation if self.validation is not None else VALIDATION_SHARE if self.test else 0.0
        kept = {"test": self.test, "validation": validation}
        return {key: share for key, share in kept.items() if isinstance(share, float) and share}

    @property
    def prompt_column(self) -> str | None:
        """The column that holds prompts, if one does."""
        return self.prompt if isinstance(self.prompt, str) else None

    @property
    def columns(self) -> tuple[str, ...]:
        """`column` as a list."""
        return (self.column,) if isinstance(self.column, str) else self.column or ()

    @property
    def from_oracle(self) -> bool:
        """Whether the sentences are drawn and not read."""
        return self.source == ORACLE or self.source.startswith(f"{ORACLE}:")

    @model_validator(mode="after")
    def _prompts_go_with_the_rest(self) -> TextData:
        if self.prompt is None:
            if self.prompt_length is not None:
                raise ValueError(
                    "prompt_length: without `prompt` there are no prompts; say what they are, or remove it"
                )
            return self
        if self.from_oracle:
            raise ValueError("prompt: an oracle's sentences have no prompts; remove it")
        if isinstance(self.prompt, str) and self.prompt in self.columns:
            raise ValueError(f"prompt: {self.prompt!r} is the column of the text too; name another")
        if self.labels != "none":
            raise ValueError(f"prompt: sentences are of a class or follow a prompt, and labels is {self.labels}")
        return self

    @field_validator("tokens")
    @classmethod
    def _tokens_are_known(cls, written: str) -> str:
        ways = (*WAYS, BYTE_PAIRS)
        if written not in ways and not written.endswith(".json"):
            raise ValueError(f"unknown way {written!r}{suggestion(written, ways)}, or a tokeniser.json")
        return written

    @model_validator(mode="after")
    def _encoding_is_known(self) -> TextData:
        try:
            "".encode(self.encoding or "utf-8")
        except LookupError:
            raise ValueError(f"encoding: {self.encoding!r} is not known to Python; try utf-8 or latin-1") from None
        return self


SECTIONS: dict[str, type[ImageData] | type[PairData] | type[UnpairedData] | type[TextData]] = {
    "[image]": ImageData,
    "[pair]": PairData,
    "[unpaired]": UnpairedData,
    "[text]": TextData,
}


def _section(written: Any) -> str:
    named = written.get("modality") if isinstance(written, Mapping) else getattr(written, "modality", None)
    return f"[{named}]" if f"[{named}]" in SECTIONS else "[image]"


DataSpec = Annotated[
    Annotated[ImageData, Tag("[image]")]
    | Annotated[PairData, Tag("[pair]")]
    | Annotated[UnpairedData, Tag("[unpaired]")]
    | Annotated[TextData, Tag("[text]")],
    Discriminator(_section),
]
