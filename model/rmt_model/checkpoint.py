"""Checkpoints: a directory that says how a backbone carries memory, and holds what was trained.

    rmt.json                    RMTConfig
    memory.safetensors          the state dict of MemoryCell
    model.safetensors           weights "full": every backbone weight that differs from the base; weights "delta": what
                                they differ by, in 8 bits
    adapter_config.json         weights "adapter": a LoRA adapter as PEFT writes it
    adapter_model.safetensors
    calibration.json            what the probabilities of its answers mean, where that was measured

Loading is strict: a directory that is not exactly this is an error that says what is wrong and where.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedModel

from rmt_model.adapter import ADAPTER_FILES, load_adapter, save_adapter
from rmt_model.backbone import BACKBONES, backbone_digest, find_backbone, load_backbone, load_tokenizer
from rmt_model.calibration import CALIBRATION_FILE, Calibration
from rmt_model.config import DtypeName, RMTConfig, WeightsForm
from rmt_model.delta import read_delta, write_delta
from rmt_model.devices import pick_device, pick_dtype
from rmt_model.errors import CheckpointError
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.weights import fill, listed, own_weights, read_weights, sha256_of, write_weights

__all__ = [
    "Checkpoint",
    "base_of",
    "checked_digest",
    "find_checkpoint",
    "load_checkpoint",
    "read_config",
    "save_checkpoint",
]

_CONFIG, _MEMORY, _MODEL = "rmt.json", "memory.safetensors", "model.safetensors"
_WEIGHTS: dict[WeightsForm, tuple[str, ...]] = {
    "full": (_MEMORY, _MODEL),
    "delta": (_MEMORY, _MODEL),
    "adapter": (_MEMORY, *ADAPTER_FILES),
}
_BUNDLED = Path(__file__).parent / "checkpoints"
_DEFAULT, _DEFAULT_ON_CUDA = "rmt-minilm", "rmt-mpnet"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model that is ready to read, and all that belongs to it.

    Attributes:
        name: The name it was asked for by, or its directory's.
        config: What its `rmt.json` says.
        model: The model, in eval mode.
        tokenizer: The backbone's tokenizer.
        eos_token_id: The token that ends any text, if the backbone has one.
        fingerprint: Names the checkpoint by its content; a memory means something to this fingerprint only.
        calibration: What the probabilities of its answers mean.
    """

    name: str
    config: RMTConfig
    model: RecurrentMemoryTransformer
    tokenizer: Tokenizer
    eos_token_id: int | None
    fingerprint: str
    calibration: Calibration = field(default_factory=Calibration)

    def text_of(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, without special tokens."""
        text: str = self.tokenizer.decode(list(token_ids))
        return text


def find_checkpoint(name_or_dir: str | Path, device: str | torch.device = "cpu") -> Path:
    """The directory of a checkpoint: one that comes with this package, by name, or any other.

    Args:
        name_or_dir: Its name or directory. "auto" is `rmt-mpnet` on CUDA where its base has been pulled, and
            `rmt-minilm`, which needs none, everywhere else.
        device: Where it is to be put.

    Raises:
        CheckpointError: There is none.
    """
    if name_or_dir == "auto":
        large = _BUNDLED / _DEFAULT_ON_CUDA
        name_or_dir = large if pick_device(device).type == "cuda" and _has_base(large) else _DEFAULT
    for directory in (_BUNDLED / name_or_dir, Path(name_or_dir)):
        if (directory / _CONFIG).is_file():
            return directory
    if not Path(name_or_dir).is_dir():
        names = sorted(path.parent.name for path in _BUNDLED.glob(f"*/{_CONFIG}"))
        raise CheckpointError(f"no checkpoint {name_or_dir}: neither a directory nor one of {names}")
    if list(Path(name_or_dir).glob("pytorch_model*.bin")):
        raise CheckpointError(f"{name_or_dir} lacks {_CONFIG}; weights of the official code: rmt-model import-official")
    raise CheckpointError(f"{name_or_dir} is no checkpoint directory: it lacks {_CONFIG}")


def _has_base(directory: Path) -> bool:
    try:
        find_backbone(base_of(read_config(directory), directory))
    except CheckpointError:
        return False
    return True


def load_checkpoint(
    name_or_dir: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: DtypeName = "auto",
    merge: bool = True,
) -> Checkpoint:
    """Load a checkpoint.

    Args:
        name_or_dir: A checkpoint that comes with this package, a directory, or "auto": see `find_checkpoint`.
        device: Where to put it; "auto" is CUDA where there is one.
        dtype: Type of the backbone's weights. "auto" is bfloat16 on CUDA and float32 elsewhere, "fast" is bfloat16 on
            processors that compute with it, too. The memory cell is float32 in any case.
        merge: Whether to add an adapter to the weights that it adapts, for speed; False to go on training it.

    Raises:
        CheckpointError: Something is missing, damaged, or does not fit; the message says what.
    """
    directory = find_checkpoint(name_or_dir)
    config = read_config(directory)
    if config.form == "encoder":
        raise CheckpointError(f"{directory} holds an encoder, which writes no answers; see load_encoder_checkpoint")
    base = base_of(config, directory)
    digest = checked_digest(config, base)
    target = pick_device(device)
    model = RecurrentMemoryTransformer(load_backbone(base, layers=config.layers), config)
    _require_positions(model)
    fill(own_weights(model.cell), read_weights(directory / _MEMORY), directory / _MEMORY)
    if config.weights == "full":
        fill(own_weights(model.backbone), read_weights(directory / _MODEL), directory / _MODEL, partial=True)
    elif config.weights == "delta":
        weights = own_weights(model.backbone)
        fill(weights, read_delta(directory / _MODEL, weights), directory / _MODEL, partial=True)
    else:
        adapted = load_adapter(model.backbone, directory)
        model.backbone = adapted.merge_and_unload() if merge else adapted
    _cast(model.backbone, pick_dtype(dtype, target))
    tokenizer = load_tokenizer(base)
    if tokenizer.get_vocab_size() > model.backbone.get_input_embeddings().num_embeddings:
        raise CheckpointError(f"the tokenizer of {config.base} has more tokens than the model has embeddings")
    return Checkpoint(
        name=directory.resolve().name,
        config=config,
        model=model.eval().to(target),
        tokenizer=tokenizer,
        eos_token_id=_eos_token_id(model.backbone.config.eos_token_id),
        fingerprint=config.fingerprint(*(sha256_of(directory / file) for file in _WEIGHTS[config.weights]), digest),
        calibration=Calibration.of(directory),
    )


def save_checkpoint(directory: Path, model: RecurrentMemoryTransformer, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write a model as a checkpoint directory, in place of the checkpoint that is there, if any.

    `rmt.json` goes first and comes last, so that a directory that has it is whole.

    Args:
        directory: Where to write; made if it is not there.
        model: The model; its config names the base, and says in which form the weights are kept.
        dtype: Type in which full or adapter weights are stored; the memory cell is stored as float32.

    Returns:
        The directory.

    Raises:
        CheckpointError: The base is not on this machine or does not fit, a weight does not fit into `dtype`,
            or the directory cannot be written.
    """
    base = base_of(model.config, directory)
    config = replace(model.config, base_sha256=checked_digest(model.config, base))
    changed, originals = ({}, {}) if config.weights == "adapter" else _changed_weights(model, base)
    if (directory / "config.json").exists():
        raise CheckpointError(f"{directory} holds a Hugging Face model; write the checkpoint to a place of its own")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file in (_CONFIG, CALIBRATION_FILE, _MEMORY, _MODEL, *ADAPTER_FILES):
            (directory / file).unlink(missing_ok=True)
        write_weights(directory / _MEMORY, own_weights(model.cell))
        if config.weights == "full":
            write_weights(directory / _MODEL, changed, dtype)
        elif config.weights == "delta":
            write_delta(directory / _MODEL, changed, originals)
        else:
            save_adapter(model.backbone, directory, dtype)
        (directory / _CONFIG).write_text(config.to_json(), encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"{directory} cannot be written: {error}") from error
    return directory


def read_config(directory: Path) -> RMTConfig:
    """What a checkpoint directory's `rmt.json` says.

    Raises:
        CheckpointError: It is missing, damaged or wrong.
    """
    try:
        return RMTConfig.from_json((directory / _CONFIG).read_text(encoding="utf-8"))
    except (CheckpointError, OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{directory}: {error}") from error


def base_of(config: RMTConfig, directory: Path) -> str | Path:
    """A checkpoint's base: a name, or a directory, which is taken from the checkpoint's unless absolute."""
    return config.base if config.base in BACKBONES else directory / config.base


def checked_digest(config: RMTConfig, base: str | Path) -> str:
    """The digest of a checkpoint's base, which must be the one that it was made on.

    Raises:
        CheckpointError: It is another one.
    """
    digest = backbone_digest(base)
    if config.base_sha256 not in ("", digest):
        raise CheckpointError(
            f"the checkpoint was made on a backbone {config.base} with SHA-256 {config.base_sha256}; "
            f"the one here has {digest}, so get the one that it was made on"
        )
    return digest


def _require_positions(model: RecurrentMemoryTransformer) -> None:
    config, known = model.config, model.positions
    wanted = 2 * config.memory_tokens + config.segment_tokens
    if known is not None and wanted > known:
        raise CheckpointError(
            f"rmt.json: a segment of {config.segment_tokens} tokens between twice {config.memory_tokens} memory "
            f"vectors takes {wanted} positions; the backbone has {known} (segment_tokens does not count the memory)"
        )


def _cast(backbone: PreTrainedModel, dtype: torch.dtype) -> None:
    """Cast weights only: `backbone.to(dtype)` would round buffers too, and with them rotary frequencies."""
    for parameter in backbone.parameters():
        parameter.data = parameter.data.to(dtype)


def _changed_weights(
    model: RecurrentMemoryTransformer, base: str | Path
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The backbone's weights that differ from the base's, and all of the base's."""
    weights = own_weights(model.backbone)
    originals = own_weights(load_backbone(base, layers=model.config.layers))
    if weights.keys() != originals.keys():
        raise CheckpointError(f"the model has other weights than its base: {listed(weights.keys() ^ originals.keys())}")
    changed = {name: w for name, w in weights.items() if not torch.equal(w.cpu(), originals[name].to(w.dtype))}
    return changed, originals


def _eos_token_id(configured: int | list[int] | None) -> int | None:
    """The first where a backbone has several."""
    return configured[0] if isinstance(configured, list) else configured
