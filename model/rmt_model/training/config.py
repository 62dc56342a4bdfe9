"""What a training run is: a TOML file, checked before anything is loaded. `docs/training.md` explains it by example."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from rmt_model.config import DtypeName, UpdateRule
from rmt_model.data.facts import KINDS, SEEN_KINDS
from rmt_model.data.paper import PAPER_TASKS, PaperTask
from rmt_model.errors import DataError

__all__ = [
    "AdapterConfig",
    "BackgroundConfig",
    "GrowthConfig",
    "LessonWeights",
    "ModelConfig",
    "Modes",
    "OptimizerConfig",
    "Share",
    "SourceConfig",
    "Stage",
    "StrictModel",
    "TrainingConfig",
    "read_toml",
]

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class StrictModel(BaseModel):
    """A table of a configuration: unknown settings are errors, and no setting changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_Config = TypeVar("_Config", bound=StrictModel)


def read_toml(path: Path, kind: type[_Config]) -> _Config:
    """Read a TOML file as a configuration of a kind.

    Raises:
        DataError: The file cannot be read, is not TOML, or fields are unknown, missing or wrong: all are named.
    """
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path} cannot be read as TOML: {error}") from error
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in error.errors())
        raise DataError(f"{path}: {'; '.join(wrong)}") from error


class AdapterConfig(StrictModel):
    """A LoRA adapter on every linear layer of the backbone's body."""

    rank: PositiveInt = Field(default=16, description="rank of the matrices")
    alpha: PositiveFloat = Field(default=32.0, description="their product is multiplied by alpha / rank")


class GrowthConfig(StrictModel):
    """Begin as a checkpoint that keeps some of the base's layers, and let the others come in little by little."""

    start: str = Field(description="that checkpoint: a name or a directory")
    rank: PositiveInt = Field(default=96, description="rank of the adapter in its layers")
    first_share: Share = Field(default=0.15, description="what the other layers count at first")
    steps: PositiveInt = Field(default=500, description="steps after which they count in full")


class ModelConfig(StrictModel):
    """What is trained: either a checkpoint to go on from, or a backbone that gets a fresh memory."""

    start: str | None = Field(default=None, description="checkpoint to go on from: a name or a directory")
    base: str | None = Field(
        default=None, description="backbone for a fresh memory: a name or a Hugging Face directory"
    )
    layers: tuple[int, ...] | None = Field(
        default=None, description="indices of the backbone's layers to keep; all if absent"
    )
    memory_tokens: PositiveInt | None = Field(default=None, description="M; 16 if absent")
    segment_tokens: PositiveInt | None = Field(default=None, description="S that is served; 256, or the checkpoint's")
    update: UpdateRule | None = Field(default=None, description="`gated` (the default) or `replace`")
    adapter: AdapterConfig | None = Field(default=None, description="LoRA instead of full weights; only with `base`")
    growth: GrowthConfig | None = Field(
        default=None, description="begin as a checkpoint with some of the base's layers; only with `adapter`"
    )
    weights: Literal["full", "delta"] | None = Field(
        default=None, description="form in the checkpoint: `full` in 16 bits (the default), or `delta` in 8 bits"
    )
    train_embeddings: bool = Field(
        default=False, description="whether token embeddings, and a tied projection, are trained"
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.start is None) == (self.base is None):
            raise ValueError("give either start (a checkpoint) or base (a backbone)")
        if self.start is not None and any((self.adapter, self.layers, self.memory_tokens, self.update)):
            raise ValueError("adapter, layers, memory_tokens and update belong to base; a checkpoint has its own")
        if self.growth is not None and (self.adapter is None or self.layers or self.memory_tokens or self.update):
            raise ValueError("growth needs an adapter; layers, memory_tokens and update are those of its start")
        if self.adapter is not None and self.weights is not None:
            raise ValueError("with an adapter, the adapter is all that is kept: leave weights out")
        return self


class Modes(StrictModel):
    """How often each way of asking is drawn, compared with the others."""

    focus: Weight = Field(default=0.5, description="the question in front of every segment")
    recall: Weight = Field(default=0.4, description="the question behind the last segment only")
    both: Weight = Field(default=0.1, description="the question in front of the first segment and behind the last")

    @model_validator(mode="after")
    def _any(self) -> Self:
        if not self.focus + self.recall + self.both > 0:
            raise ValueError("one of focus, recall and both must be more than 0")
        return self


class Stage(StrictModel):
    """One stage of the curriculum: it ends when accuracy holds, or after `max_steps`."""

    max_steps: PositiveInt = Field(description="steps after which the stage ends in any case")
    max_segments: int = Field(ge=0, le=4096, description="most whole segments before the one with the question")
    max_recall_segments: int | None = Field(
        default=None, ge=0, le=4096, description="the same without a focus, if it differs"
    )
    segment_tokens: tuple[Annotated[int, Field(ge=16, le=65536)], ...] = Field(
        min_length=1, description="segment lengths that are drawn from"
    )
    document_tokens: PositiveInt | None = Field(
        default=None, description="most tokens in whole segments: the longer they are, the fewer; absent: no limit"
    )
    step_tokens: PositiveInt = Field(
        default=4096, description="about how many tokens one batch reads, all lanes together"
    )
    max_lanes: PositiveInt = Field(default=32, description="most documents of a batch")
    questions: PositiveInt = Field(
        default=6, description="most questions asked of a document in each segment, where its source has so many"
    )
    endings: Annotated[int, Field(ge=0)] = Field(
        default=2, description="places in each segment at which memory and gate have a lesson, besides its end"
    )
    longest_share: Share = Field(
        default=0.5, description="share of batches with the most segments; others have any fewer"
    )
    advance_at: float | None = Field(
        default=0.95, description="running accuracy, in every mode, at which the stage ends"
    )
    bptt_segments: PositiveInt | None = Field(
        default=None, description="gradients flow through the last so many segments only; absent: through all"
    )
    modes: Modes = Field(default=Modes(), description="ways of asking")

    def most_segments(self, mode: str, segment_tokens: int) -> int:
        """Most whole segments of a length, for a way of asking."""
        recall_limit = self.max_segments if self.max_recall_segments is None else self.max_recall_segments
        most = self.max_segments if mode == "focus" else recall_limit
        return most if self.document_tokens is None else min(most, self.document_tokens // segment_tokens)


class OptimizerConfig(StrictModel):
    """AdamW: warm-up, plateau, and a fall to a tenth at the end."""

    learning_rate: PositiveFloat = Field(default=2.4e-4, description="peak, for the backbone or its adapter")
    memory_learning_rate: PositiveFloat = Field(default=8e-4, description="peak, for memory vectors and gate")
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's")
    warmup_steps: PositiveInt = Field(default=40, description="steps in which the rate rises")
    decay_steps: PositiveInt = Field(default=300, description="steps at the end of the last stage in which it falls")
    clip: PositiveFloat = Field(default=1.0, description="largest norm of the gradient")
    accumulate: PositiveInt = Field(default=1, description="batches whose gradients make one step")


class LessonWeights(StrictModel):
    """Weights of what is taught besides the answers, where a source knows it."""

    gate: Weight = Field(default=1.0, description="which segments may change which memory vectors")
    note: Weight = Field(default=1.0, description="what the memory vectors should say after a segment")


class BackgroundConfig(StrictModel):
    """Text that stories are hidden in."""

    books: Path = Field(description="folder of UTF-8 files `First_Last_Title.txt`; one author in six is held out")
    more: tuple[Path, ...] = Field(default=(), description="further folders whose .txt and .py files are used whole")
    chars: PositiveInt = Field(default=40_000_000, description="characters that are taken in all")


class SourceConfig(StrictModel):
    """A source of documents and questions."""

    kind: Literal["lines", "babi", "paper", "planted", "squad", "fairytaleqa"] = Field(description="what it is")
    weight: PositiveFloat = Field(default=1.0, description="how often it is drawn from, compared with the others")
    path: Path | None = Field(default=None, description="file or folder; paper and planted need none")
    tasks: tuple[int | PaperTask, ...] = Field(default=(), description="tasks of babi (numbers) or paper (names)")
    kinds: tuple[str, ...] = Field(default=SEEN_KINDS, description="kinds of planted facts")
    articles: Literal["all", "first-half"] = Field(
        default="all", description="of SQuAD's articles: all, or every second"
    )
    from_tokens: int = Field(
        default=0, ge=0, description="drawn from only for documents of so many tokens or more; 0: for all"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.path is None) != (self.kind in ("paper", "planted")):
            raise ValueError(f"kind {self.kind!r} {'needs a path' if self.path is None else 'has no path'}")
        known: tuple[object, ...] = PAPER_TASKS if self.kind == "paper" else tuple(range(1, 21))
        if unknown_tasks := [task for task in self.tasks if task not in known]:
            raise ValueError(f"tasks of {self.kind!r} are {', '.join(map(str, known))}, not {unknown_tasks[0]!r}")
        if unknown_kinds := [kind for kind in self.kinds if kind not in KINDS]:
            raise ValueError(f"kinds of planted facts are {', '.join(KINDS)}, not {unknown_kinds[0]!r}")
        if self.kind == "babi" and not self.tasks:
            raise ValueError("babi needs tasks, as [1, 2, 3]")
        return self


class TrainingConfig(StrictModel):
    """A training run."""

    run: Path = Field(description="folder for log, picture, resumable state and checkpoint")
    seed: int = Field(default=2304, description="of samples and their order")
    device: str = Field(default="auto", description="cpu, cuda, or auto: CUDA where there is one")
    dtype: DtypeName = Field(
        default="auto",
        description="of matrix products: float32, bfloat16, auto (bfloat16 on CUDA), fast (on some processors too)",
    )
    activation_checkpointing: bool | Literal["auto"] = Field(
        default="auto", description="compute activations twice instead of keeping them; auto: when they would not fit"
    )
    compile: bool = Field(default=False, description="torch.compile the backbone's body")
    save_every_s: PositiveFloat = Field(default=180.0, description="seconds between saves of the resumable state")
    prefetch: PositiveInt = Field(default=4, description="steps whose batches are built ahead")
    builders: int = Field(default=0, ge=0, description="processes that build batches; 0: a thread, enough for a CPU")
    model: ModelConfig = Field(description="what is trained")
    optimizer: OptimizerConfig = Field(default=OptimizerConfig(), description="how")
    lessons: LessonWeights = Field(default=LessonWeights(), description="what is taught besides answers")
    background: BackgroundConfig | None = Field(default=None, description="what stories are hidden in; absent: nothing")
    stages: tuple[Stage, ...] = Field(min_length=1, description="the curriculum")
    sources: tuple[SourceConfig, ...] = Field(min_length=1, description="documents and questions, mixed by weight")

    @model_validator(mode="after")
    def _has_background(self) -> Self:
        scattered = [source.kind for source in self.sources if source.kind in ("babi", "paper", "planted")]
        if scattered and self.background is None:
            raise ValueError(f"source {scattered[0]!r} is hidden in other text: give [background] a folder of books")
        return self

    @model_validator(mode="after")
    def _short_ones_too(self) -> Self:
        if all(source.from_tokens > 0 for source in self.sources):
            raise ValueError("short documents need a source too: leave from_tokens of one source at 0")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a TOML file; relative paths in it start at its folder.

        Raises:
            DataError: The file cannot be read, is not TOML, or fields are unknown, missing or wrong: all are named.
        """
        return read_toml(path, cls)._based_in(path.parent)

    def _based_in(self, folder: Path) -> Self:
        sources = tuple(s.model_copy(update={"path": folder / s.path}) if s.path else s for s in self.sources)
        update: dict[str, object] = {"run": folder / self.run, "sources": sources}
        if self.background is not None:
            more = tuple(folder / one for one in self.background.more)
            places = {"books": folder / self.background.books, "more": more}
            update["background"] = self.background.model_copy(update=places)
        origins = {name: value for name in ("start", "base") if (value := getattr(self.model, name))}
        # A name stays a name; a directory is looked for beside the file.
        found: dict[str, object] = {n: str(folder / value) for n, value in origins.items() if (folder / value).is_dir()}
        growth = self.model.growth
        if growth is not None and (folder / growth.start).is_dir():
            found["growth"] = growth.model_copy(update={"start": str(folder / growth.start)})
        return self.model_copy(update={**update, "model": self.model.model_copy(update=found)})
