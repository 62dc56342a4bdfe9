"""Errors of the model room.

RmtModelError
├── CheckpointError       a checkpoint or backbone that cannot be loaded
├── StateError            a reader state that is damaged or of another kind
│   └── FingerprintError  a reader state made by another checkpoint
├── QuestionError         a question that cannot be asked
├── TrainingError         a training run that cannot begin or go on
├── DataError             training or evaluation data that is missing or malformed, with file and line
└── InvalidUtf8Error      bytes that are not text, with their offset (in `rmt_model.tokenizer`)
"""

__all__ = [
    "CheckpointError",
    "DataError",
    "FingerprintError",
    "QuestionError",
    "RmtModelError",
    "StateError",
    "TrainingError",
]


class RmtModelError(Exception):
    """Base of all errors that a user of this package can cause."""


class CheckpointError(RmtModelError):
    """A checkpoint directory, official state dict or backbone is missing something or does not fit."""


class StateError(RmtModelError):
    """A serialised reader state is damaged, truncated, not safetensors, or lies about its shapes."""


class FingerprintError(StateError):
    """A reader state belongs to another checkpoint: its memory means nothing to this one."""


class QuestionError(RmtModelError):
    """A question is empty, or too long for a segment."""


class DataError(RmtModelError):
    """Training or evaluation data is missing, malformed, or does not fit what is asked of it."""


class TrainingError(RmtModelError):
    """A training run cannot begin or go on: no disk space, another model's state, a loss that is not a number."""
