"""Checkpoints of encoders with memory: a directory that needs nothing else.

rmt.json            RMTConfig with form "encoder"
config.json         sizes of the encoder, as Hugging Face writes them
tokenizer.json      its tokenizer
model.safetensors   all weights, matrices in 8 bits with a scale for each row; see `rmt_model.delta`
calibration.json    what the scores of its answers mean, where that was measured
"""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from tokenizers import Tokenizer

from rmt_model.calibration import CALIBRATION_FILE, Calibration
from rmt_model.checkpoint import read_config
from rmt_model.config import DtypeName, RMTConfig
from rmt_model.delta import read_delta, write_delta
from rmt_model.devices import pick_device, pick_dtype
from rmt_model.encoder import Encoder, EncoderConfig
from rmt_model.errors import CheckpointError
from rmt_model.span_reader import SEGMENT_MULTIPLE, SEGMENT_PLACE, SpanReader
from rmt_model.weights import fill, own_weights, sha256_of

__all__ = ["EncoderCheckpoint", "load_encoder_checkpoint", "save_encoder_checkpoint", "special_id"]

_CONFIG, _SIZES, _TOKENIZER, _MODEL = "rmt.json", "config.json", "tokenizer.json", "model.safetensors"


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
    directory: Path, *, device: str | torch.device = "cpu", dtype: DtypeName = "auto"
) -> EncoderCheckpoint:
    """Load an encoder's checkpoint directory; for the arguments see `rmt_model.checkpoint.load_checkpoint`.

    Raises:
        CheckpointError: Something is missing, damaged, or does not fit; the message says what.
    """
    config = read_config(directory)
    if config.form != "encoder":
        raise CheckpointError(f"{directory} holds a decoder, which points at nothing; see load_checkpoint")
    tokenizer = _tokenizer(directory / _TOKENIZER)
    sizes = EncoderConfig.of(directory)
    longest = -(-config.segment_tokens // SEGMENT_MULTIPLE) * SEGMENT_MULTIPLE
    if SEGMENT_PLACE + longest + 1 > sizes.max_position_embeddings:
        known = sizes.max_position_embeddings
        raise CheckpointError(
            f"rmt.json: a segment of {config.segment_tokens} tokens is too long for {known} positions"
        )
    if tokenizer.get_vocab_size() > sizes.vocab_size:
        raise CheckpointError(f"the tokenizer of {directory} has more tokens than the model has embeddings")
    model = SpanReader(
        Encoder(sizes),
        config.memory_tokens,
        cls_id=special_id(tokenizer, "[CLS]"),
        sep_id=special_id(tokenizer, "[SEP]"),
    )
    weights = own_weights(model)
    originals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    fill(weights, read_delta(directory / _MODEL, originals), directory / _MODEL)
    target = pick_device(device)
    model.encoder.to(pick_dtype(dtype, target))
    digests = (sha256_of(directory / file) for file in (_MODEL, _TOKENIZER, _SIZES))
    return EncoderCheckpoint(
        name=directory.resolve().name,
        config=config,
        model=model.eval().to(target),
        tokenizer=tokenizer,
        fingerprint=config.fingerprint(*digests),
        calibration=Calibration.of(directory),
    )


def save_encoder_checkpoint(directory: Path, model: SpanReader, tokenizer: Tokenizer, config: RMTConfig) -> Path:
    """Write a reader as a checkpoint directory, in place of the checkpoint that is there, if any.

    Raises:
        CheckpointError: A weight is not finite, or the directory cannot be written.
    """
    weights = {name: weight.float() for name, weight in own_weights(model).items()}
    sizes = {one.name: getattr(model.encoder.config, one.name) for one in fields(EncoderConfig)}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file in (_CONFIG, CALIBRATION_FILE):
            (directory / file).unlink(missing_ok=True)
        write_delta(directory / _MODEL, weights, {name: torch.zeros_like(weight) for name, weight in weights.items()})
        (directory / _SIZES).write_text(json.dumps({"model_type": "bert", **sizes}, indent=2) + "\n")
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


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """Token id of [CLS] or [SEP].

    Raises:
        CheckpointError: The tokenizer is not of BERT's form.
    """
    token_id = tokenizer.token_to_id(token)
    if token_id is None or tokenizer.token_to_id("[PAD]") != 0:
        raise CheckpointError(f"the tokenizer has no {token}, or its [PAD] is not token 0: it is not of BERT's form")
    return int(token_id)
