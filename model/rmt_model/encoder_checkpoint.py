"""Checkpoints of encoders with memory.

rmt.json            RMTConfig with form "encoder"
calibration.json    what the scores of its answers mean, where that was measured

One with weights "full" needs nothing else than its directory:

config.json         sizes of the encoder, as Hugging Face writes them
tokenizer.json      its tokenizer
model.safetensors   all weights, matrices in 8 bits with a scale for each row; see `rmt_model.delta`

One with weights "adapter" lies on a base, which has sizes, tokenizer and the encoder's weights:

memory.safetensors          memory and heads
adapter_config.json         a LoRA adapter of the encoder, as PEFT writes it
adapter_model.safetensors
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from peft import PeftModel
from tokenizers import Tokenizer
from torch import Tensor

from rmt_model.adapter import ADAPTER_FILES, load_adapter, save_adapter
from rmt_model.backbone import find_backbone
from rmt_model.calibration import CALIBRATION_FILE, Calibration
from rmt_model.checkpoint import base_of, checked_digest, read_config
from rmt_model.config import DtypeName, RMTConfig
from rmt_model.delta import read_delta, write_delta
from rmt_model.devices import pick_device, pick_dtype
from rmt_model.encoder import Encoder, EncoderConfig, load_encoder
from rmt_model.errors import CheckpointError
from rmt_model.span_reader import SEGMENT_MULTIPLE, SEGMENT_PLACE, SpanReader
from rmt_model.weights import fill, own_weights, read_weights, sha256_of, write_weights

__all__ = ["EncoderCheckpoint", "load_encoder_checkpoint", "save_encoder_checkpoint", "special_ids"]

_CONFIG, _SIZES, _TOKENIZER = "rmt.json", "config.json", "tokenizer.json"
_MODEL, _MEMORY = "model.safetensors", "memory.safetensors"


_WHOLE, _ADAPTED = (_MODEL, _TOKENIZER, _SIZES), (_MEMORY, *ADAPTER_FILES)


@dataclass(frozen=True, slots=True)
class EncoderCheckpoint:
    """An encoder with memory that is ready to read, and all that belongs to it.

    Attributes:
        name: The name it was asked for by, or its directory's.
        config: What its `rmt.json` says.
        model: The reader, in eval mode.
        tokenizer: The encoder's tokenizer.
        fingerprint: Names the checkpoint by its content; a memory means something to this fingerprint only.
        calibration: What the scores of its answers mean.
    """

    name: str
    config: RMTConfig
    model: SpanReader
    tokenizer: Tokenizer
    fingerprint: str
    calibration: Calibration = field(default_factory=Calibration)


def load_encoder_checkpoint(
    directory: Path, *, device: str | torch.device = "cpu", dtype: DtypeName = "auto", merge: bool = True
) -> EncoderCheckpoint:
    """Load an encoder's checkpoint directory; for the arguments see `rmt_model.checkpoint.load_checkpoint`.

    Raises:
        CheckpointError: Something is missing, damaged, or does not fit; the message says what.
    """
    config = read_config(directory)
    if config.form != "encoder":
        raise CheckpointError(f"{directory} holds a decoder, which points at nothing; see load_checkpoint")
    adapted = config.weights == "adapter"
    base = base_of(config, directory)
    origin = find_backbone(base) if adapted else directory
    digest = checked_digest(config, base) if adapted else None
    tokenizer = _tokenizer(origin / _TOKENIZER)
    sizes = EncoderConfig.of(origin)
    longest = -(-config.segment_tokens // SEGMENT_MULTIPLE) * SEGMENT_MULTIPLE
    if SEGMENT_PLACE + longest + 1 > sizes.positions:
        raise CheckpointError(
            f"rmt.json: a segment of {config.segment_tokens} tokens is too long for {sizes.positions} positions"
        )
    if tokenizer.get_vocab_size() > sizes.vocab_size:
        raise CheckpointError(f"the tokenizer of {origin} has more tokens than the model has embeddings")
    cls_id, sep_id = special_ids(tokenizer)
    encoder = load_encoder(origin) if adapted else Encoder(sizes)
    model = SpanReader(encoder, config.memory_tokens, cls_id=cls_id, sep_id=sep_id)
    if adapted:
        fill(_memory_weights(model), read_weights(directory / _MEMORY), directory / _MEMORY)
        with_lora = load_adapter(encoder, directory)
        model.encoder = with_lora.merge_and_unload() if merge else with_lora
    else:
        weights = own_weights(model)
        originals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        fill(weights, read_delta(directory / _MODEL, originals), directory / _MODEL)
    target = pick_device(device)
    model.encoder.to(pick_dtype(dtype, target))
    digests = [sha256_of(directory / file) for file in (_ADAPTED if adapted else _WHOLE)]
    return EncoderCheckpoint(
        name=directory.resolve().name,
        config=config,
        model=model.eval().to(target),
        tokenizer=tokenizer,
        fingerprint=config.fingerprint(*digests, *([digest] if digest else [])),
        calibration=Calibration.of(directory),
    )


def save_encoder_checkpoint(directory: Path, model: SpanReader, tokenizer: Tokenizer, config: RMTConfig) -> Path:
    """Write a reader as a checkpoint directory, in place of the checkpoint that is there, if any.

    Args:
        directory: Where to write; made if it is not there.
        model: The reader; where `config.weights` is "adapter", its encoder is under one.
        tokenizer: Its tokenizer.
        config: What `rmt.json` says.

    Raises:
        CheckpointError: A weight is not finite, or the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file in {_CONFIG, CALIBRATION_FILE, *_WHOLE, *_ADAPTED}:
            (directory / file).unlink(missing_ok=True)
        if isinstance(model.encoder, PeftModel):
            write_weights(directory / _MEMORY, _memory_weights(model))
            save_adapter(model.encoder, directory, torch.bfloat16)
        else:
            weights = {name: weight.float() for name, weight in own_weights(model).items()}
            nothing = {name: torch.zeros_like(weight) for name, weight in weights.items()}
            write_delta(directory / _MODEL, weights, nothing)
            (directory / _SIZES).write_text(json.dumps(asdict(model.encoder.config), indent=2) + "\n")
            tokenizer.save(str(directory / _TOKENIZER))
        (directory / _CONFIG).write_text(config.to_json(), encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"{directory} cannot be written: {error}") from error
    return directory


def _tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # `tokenizers` raises bare Exception
        raise CheckpointError(f"the tokenizer {path} cannot be loaded: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _memory_weights(model: SpanReader) -> dict[str, Tensor]:
    """The weights of a reader that are not its encoder's."""
    return {name: weight for name, weight in own_weights(model).items() if not name.startswith("encoder.")}


def special_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """Token ids that stand before everything and behind a question or segment: [CLS] and [SEP], or <s> and </s>.

    Raises:
        CheckpointError: The tokenizer has neither pair, or its token 0, which pads, may stand in a text.
    """
    for first, last, pads in (("[CLS]", "[SEP]", "[PAD]"), ("<s>", "</s>", "<s>")):
        cls_id, sep_id = tokenizer.token_to_id(first), tokenizer.token_to_id(last)
        if cls_id is not None and sep_id is not None and tokenizer.token_to_id(pads) == 0:
            return int(cls_id), int(sep_id)
    raise CheckpointError(
        "the tokenizer has neither [CLS] and [SEP] with [PAD] as token 0 nor <s> as token 0 and </s>: "
        "it is not of BERT's or MPNet's form"
    )
