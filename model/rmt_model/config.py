"""RMTConfig: what `rmt.json` says about a checkpoint, validated once."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args

from rmt_model.errors import CheckpointError
from rmt_model.unicode import whole_characters

__all__ = ["FORMAT_VERSION", "DtypeName", "Form", "RMTConfig", "UpdateRule", "WeightsForm"]

FORMAT_VERSION = 1
_MOST = 1 << 16
UpdateRule = Literal["replace", "gated"]
WeightsForm = Literal["full", "delta", "adapter"]
Form = Literal["decoder", "encoder"]
DtypeName = Literal["auto", "fast", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class RMTConfig:
    """A Recurrent Memory Transformer around a causal language model, or around an encoder.

    An encoder's checkpoint holds all its weights: `base` says what they were made from, and is not needed to load them.

    Attributes:
        form: `decoder` writes its answers; `encoder` points at them. Templates, `stop` and `layers` are a decoder's.
        base: Backbone: a name known to `rmt_model.backbone`, or a Hugging Face model directory, absolute or
            relative to the checkpoint's.
        base_sha256: SHA-256 of what the backbone is made of (see `backbone_digest`); empty means any.
        layers: Indices of the backbone's transformer layers that are kept, ascending; None keeps all.
        memory_tokens: Number of memory vectors, M.
        segment_tokens: Document tokens in one segment, S; memory and focus are not counted.
        update: `replace` (the paper) or `gated` (a learned mixture of old and written memory).
        memory_scale: What the written vectors are multiplied by before they are fed back.
        focus_template: Text put in front of every segment of a lane with a focus.
        focus_multiple: The focus is padded in front with newlines to a multiple of this many tokens.
        question_template: Text put behind the last segment to ask.
        stop: Text that ends an answer, besides the end-of-text token.
        max_answer_tokens: Default limit of an answer's length in tokens.
        weights: `full` (model.safetensors holds what differs from the backbone) or `adapter` (PEFT).
        provenance: How the checkpoint was made: data, seed, steps. Does not change an answer.
    """

    base: str
    form: Form = "decoder"
    base_sha256: str = ""
    layers: tuple[int, ...] | None = None
    memory_tokens: int = 16
    segment_tokens: int = 256
    update: UpdateRule = "replace"
    memory_scale: float = 1.0
    focus_template: str = "Question: {question}\n"
    focus_multiple: int = 16
    question_template: str = "\nQuestion: {question}\nAnswer:"
    stop: str = "\n"
    max_answer_tokens: int = 32
    weights: WeightsForm = "full"
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("memory_tokens", "segment_tokens", "focus_multiple", "max_answer_tokens"):
            _require(_is_count(getattr(self, name)), name, f"an integer from 1 to {_MOST}", getattr(self, name))
        for name in ("base_sha256", "stop"):
            _require(_is_text(getattr(self, name)), name, "a text", getattr(self, name))
        _require(_are_layers(self.layers), "layers", "ascending layer indices or null", self.layers)
        _require(self.form in get_args(Form), "form", "'decoder' or 'encoder'", self.form)
        _require(self.update in get_args(UpdateRule), "update", "'replace' or 'gated'", self.update)
        _require(self.weights in get_args(WeightsForm), "weights", "'full', 'delta' or 'adapter'", self.weights)
        named = isinstance(self.base, str) and self.base != ""
        _require(named, "base", "a backbone's name or directory", self.base)
        scaled = type(self.memory_scale) in (int, float) and 0 < self.memory_scale < 1e6
        _require(scaled, "memory_scale", "a positive number", self.memory_scale)
        for name in ("focus_template", "question_template"):
            template = getattr(self, name)
            _require(_is_text(template), name, "a text", template)
            _require(template.count("{question}") == 1, name, "a text with one {question}", template)
        _require(isinstance(self.provenance, dict), "provenance", "an object", self.provenance)

    @property
    def segment_positions(self) -> int:
        """Positions that a segment takes with its memory in front and behind; a focus takes more."""
        return 2 * self.memory_tokens + self.segment_tokens

    def focus_text(self, question: str) -> str:
        """What stands in front of every segment of a lane that works for `question`."""
        return self.focus_template.replace("{question}", question)

    def question_text(self, question: str) -> str:
        """What stands behind the last segment to ask `question`."""
        return self.question_template.replace("{question}", question)

    def fingerprint(self, *weight_digests: str) -> str:
        """Name a checkpoint by its content: everything in it that can change an answer, and no path.

        Args:
            weight_digests: SHA-256 of each weight file, in a fixed order, and of the base.

        Returns:
            32 hexadecimal digits.
        """
        unmeaning = ["base", "base_sha256", "provenance"]
        if self.form == "decoder":
            unmeaning.append("form")  # those that were named before there were encoders keep their names
        meaning = {key: value for key, value in asdict(self).items() if key not in unmeaning}
        meaning["weight_digests"] = weight_digests
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:32]

    def to_json(self) -> str:
        """`rmt.json`, ready to be written."""
        return json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read `rmt.json`.

        Raises:
            CheckpointError: It is not JSON, of another version, or a field is unknown, missing or wrong.
        """
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"rmt.json is not valid JSON: {error}") from error
        if not isinstance(raw, dict):
            raise CheckpointError(f"rmt.json must hold an object, not {type(raw).__name__}")
        version = raw.pop("format_version", None)
        if version != FORMAT_VERSION:
            wanted = f"this program reads {FORMAT_VERSION}"
            raise CheckpointError(f"rmt.json has format_version {version!r}; {wanted}")
        unknown = sorted(set(raw) - {f.name for f in fields(cls)})
        if unknown:
            raise CheckpointError(f"rmt.json has unknown fields: {', '.join(unknown)}")
        if "base" not in raw:
            raise CheckpointError("rmt.json lacks the field 'base'")
        if isinstance(raw.get("layers"), list):
            raw["layers"] = tuple(raw["layers"])
        return cls(**raw)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST


def _is_text(value: object) -> bool:
    """JSON can write half a surrogate pair, which is no character."""
    return isinstance(value, str) and whole_characters(value) == value


def _are_layers(value: object) -> bool:
    if not isinstance(value, tuple):
        return value is None
    indices = all(type(index) is int and index >= 0 for index in value)
    return indices and value != () and list(value) == sorted(set(value))


def _require(holds: bool, name: str, wanted: str, found: object) -> None:
    if not holds:
        raise CheckpointError(f"rmt.json: '{name}' must be {wanted}, not {found!r}")
