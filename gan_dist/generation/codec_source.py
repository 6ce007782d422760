"""Where codecs of latents come from: a run of `autoencoder`, a folder of the library diffusers' `AutoencoderKL`, or a
class of a person's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.facts import ImageFacts, LatentFacts
from gan_dist.data.latents import encode_prepared
from gan_dist.data.prepare import Executor, Prepared, Progress, prepare_or_load
from gan_dist.data.shards import ShardReader
from gan_dist.data.source import state_of
from gan_dist.data.sources.own_datasets import code_digest
from gan_dist.errors import DataError, UsageError
from gan_dist.generation.exported_model import is_exported
from gan_dist.generation.hub import is_on_hub
from gan_dist.generation.latent_codec import built_codec, check_inverts, codec_files, encoder_of
from gan_dist.networks.image.autoencoder import Autoencoder, KlAutoencoder
from gan_dist.runs.run_folder import PREPARED
from gan_dist.runs.storage import Folder, home
from gan_dist.spec.data import CodecSpec, DataSpec, ImageData
from gan_dist.spec.fields import is_own_name
from gan_dist.spec.paths import absolute_path

CONFIG, KIND, AUTOENCODER = "config.json", "AutoencoderKL", "autoencoder"
WEIGHTS = ("diffusion_pytorch_model.safetensors", "model.safetensors")
BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}
USUAL: dict[str, Any] = {"act_fn": "silu", "mid_block_add_attention": True}
REMEDY = f"name a run of jobs/autoencoder.yaml, a folder of an {KIND}, or a class: {{use: package.module:Name}}"

LoadGenerator = Callable[[str], nn.Module]  # of a run, checkpoint or export


def is_of_run(encode: str) -> bool:
    """Whether an autoencoder is named by its run or checkpoint: it is neither a folder of its own nor a hub's."""
    return not is_on_hub(encode) and not (absolute_path(encode) / CONFIG).is_file()


def check_generator(encode: str, use: str) -> None:
    """Raises UsageError where a run, by the name of its generator, is of no autoencoder; of a person's own class only
    running it tells."""
    if use != AUTOENCODER and not is_own_name(use):
        raise UsageError(f"data.encode: {encode!r} trained {use!r}, which has no encoder and decoder; {REMEDY}")


def check_folder(encode: str) -> None:
    """Raises UsageError where a folder, by its config, holds no autoencoder that is read here; a hub's is not looked
    at."""
    if is_on_hub(encode):
        return
    folder = absolute_path(encode)
    if is_exported(folder):
        check_generator(encode, json.loads((folder / CONFIG).read_text())["generator"]["use"])
    elif (config := _diffusers_config(folder)) is None:
        raise UsageError(f"data.encode: {encode!r} holds no autoencoder; {REMEDY}")
    else:
        _check_diffusers(folder, config)


def read_codec(encode: str | CodecSpec, load: LoadGenerator, facts: ImageFacts) -> tuple[nn.Module, dict[str, Any]]:
    """A trained autoencoder, frozen, and by what it is built (see `built_codec`).

    Args:
        encode: a run, checkpoint or export whose generator is `autoencoder`; a folder of an `AutoencoderKL`; or a class
            of a person's own, which reads its weights itself.
        facts: of the pictures.

    Raises:
        UsageError: it is neither, or one of a form that is not known here.
        DataError: their class cannot be made.
    """
    if isinstance(encode, CodecSpec):
        config: dict[str, Any] = {"use": encode.use, "arguments": encode.model_dump(mode="json", exclude={"use"})}
        network = built_codec(config, facts.size, facts.channels)
        return network.eval().requires_grad_(False), config | {"code": code_digest(encode.use)}
    folder = Path(encode)
    if (stored := _diffusers_config(folder)) is not None:
        own, arguments = _from_diffusers(folder, stored)
    else:
        generator = load(encode)
        if not isinstance(generator, Autoencoder):
            raise UsageError(f"encode: {encode!r} has no encoder and decoder; {REMEDY}")
        own, arguments = generator, generator.arguments
    return own.eval().requires_grad_(False), {"arguments": arguments}


def encode_into(
    data: ImageData, target: str, load: LoadGenerator, *, progress: Progress, encoding: Progress
) -> Prepared:
    """Prepare pictures, and write their latents by the autoencoder of `data.encode` into a folder of the user's.

    Raises:
        UsageError: the codec cannot be read.
        DataError: the data cannot be used, or the codec does not bring them back.
    """
    cache = Folder.at(home()).child(PREPARED)
    found = prepare_or_load(data, cache, executor=write_shards_on_processes, progress=progress)
    assert data.encode is not None
    return _encoded(found, lambda checksum: Folder.at(target), data.encode, load, encoding)


def prepare_for_job(
    data: DataSpec,
    cache: Folder,
    load: LoadGenerator,
    *,
    executor: Executor,
    progress: Progress,
    encoding: Progress,
    stand_in_of: int | None = None,
) -> Prepared:
    """The job's data as `prepare_or_load` has them, or their latents, kept in the same place, where `data.encode` names
    an autoencoder.

    Args:
        progress: told how many shards are done, of how many; `encoding`, how many pictures have become latents.

    Raises:
        UsageError: the codec cannot be read.
        DataError: the data cannot be used, or the codec does not bring them back.
    """
    found = prepare_or_load(data, cache, executor=executor, progress=progress, stand_in_of=stand_in_of)
    encode, facts = getattr(data, "encode", None), found.facts
    if encode is None or (isinstance(facts, LatentFacts) and isinstance(encode, CodecSpec)):
        return found
    if facts.stand_in:
        raise DataError(f"data.encode: {data.source!r} is not at hand, and random pictures are no test of a codec")
    return _encoded(
        found,
        lambda checksum: cache.child(state_of(["latents", facts.checksum, checksum])),
        encode,
        load,
        encoding,
    )


def _encoded(
    found: Prepared,
    target: Callable[[str], Folder],
    encode: str | CodecSpec,
    load: LoadGenerator,
    progress: Progress,
) -> Prepared:
    """The latents of prepared pictures, in the folder that `target` says for the codec's checksum."""
    facts = found.facts
    if type(facts) is not ImageFacts:
        raise DataError(f"encode: {facts.described} cannot be encoded; only images alone can")
    source = encode.use if isinstance(encode, CodecSpec) else encode
    network, config = read_codec(encode, load, facts)
    first = ShardReader(found.folder, found.records, found.column("label")).read(0)
    check_inverts(network, first, source)
    known, files = codec_files(network, config, source)
    folder = target(known["checksum"])
    return encode_prepared(
        found, folder, facts=facts, encode=encoder_of(network), codec=known, files=files, progress=progress
    )


def _diffusers_config(folder: Path) -> dict[str, Any] | None:
    """What a folder's own config says, where it is one of the library's."""
    file = folder / CONFIG
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise UsageError(f"encode: {str(file)!r} is no JSON: {error}") from error
    return config if isinstance(config, dict) and "_class_name" in config else None


def _check_diffusers(folder: Path, config: dict[str, Any]) -> None:
    if config["_class_name"] != KIND:
        raise UsageError(f"encode: {str(folder)!r} holds a {config['_class_name']}; only {KIND} is read")
    for key, value in USUAL.items():
        if config.get(key, value) not in (value, False if key == "mid_block_add_attention" else value):
            raise UsageError(f"encode: {key}: {config[key]!r} in {str(folder)!r}; only {value!r} is read")
    for key, kind in BLOCKS.items():
        if other := [one for one in config.get(key, ()) if one != kind]:
            raise UsageError(f"encode: {key}: {other[0]!r} in {str(folder)!r}; only {kind!r} is read")


def _from_diffusers(folder: Path, config: dict[str, Any]) -> tuple[KlAutoencoder, dict[str, Any]]:
    _check_diffusers(folder, config)
    try:
        arguments = {
            "channels": config["in_channels"],
            "latent": config["latent_channels"],
            "widths": list(config["block_out_channels"]),
            "layers": config["layers_per_block"],
            "groups": config["norm_num_groups"],
            "attention": config.get("mid_block_add_attention", True),
            "quant": config.get("use_quant_conv", True),
        }
        network = KlAutoencoder(**arguments)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"encode: {str(folder / CONFIG)!r} describes no {KIND}: {error}") from error
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise UsageError(f"encode: {str(folder)!r} has no weights ({' or '.join(WEIGHTS)})")
    try:
        network.load_state_dict(load_file(file))
    except (SafetensorError, RuntimeError) as error:
        raise UsageError(f"encode: the weights in {str(file)!r} are of another network: {error}") from error
    return network, arguments
