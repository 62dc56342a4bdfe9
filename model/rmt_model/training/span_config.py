"""What the training of a span reader is: a TOML file, checked before anything is loaded.

`docs/training.md` explains it by the file that rmt-minilm was trained with. Read `span_run` next.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from rmt_model.training.config import AdapterConfig, Share, StrictModel, read_toml

__all__ = [
    "HELD_OUT_AUTHORS",
    "ReaderConfig",
    "ReaderData",
    "ReaderModel",
    "ReaderSource",
    "ReaderStage",
    "ReaderTeacher",
    "SourceName",
]

SourceName = Literal["cloze", "squad", "qamr", "covidqa", "fairytaleqa", "molweni", "scenes", "stories"]
SegmentTokens = Annotated[int, Field(ge=16, le=4096)]
HELD_OUT_AUTHORS = ("Bram_Stoker", "Daniel_Defoe")
"""Authors whose books are evaluated on: never trained on, whatever a configuration says."""


class ReaderModel(StrictModel):
    """What is trained: a base that gets a fresh memory and heads, or a reader to go on from."""

    base: str | None = Field(
        default=None,
        description="encoder for a fresh memory: a name, or a Hugging Face directory of BERT's or MPNet's form",
    )
    start: str | None = Field(
        default=None,
        description="reader to go on from: a checkpoint's name or directory, or a stage's `state.pt` beside its `base`",
    )
    start_share: Share = Field(
        default=0.0,
        description="of the weights of `start` in the checkpoint, which is an average of those and the trained",
    )
    memory_tokens: PositiveInt | None = Field(default=None, description="M; 16, or the checkpoint's")
    segment_tokens: SegmentTokens | None = Field(
        default=None, description="longest segment that is served; 384, or the checkpoint's"
    )
    adapter: AdapterConfig | None = Field(default=None, description="LoRA instead of all weights; only with `base`")

    @property
    def starts_with_state(self) -> bool:
        """Whether `start` is a stage's state."""
        return self.start is not None and self.start.endswith(".pt")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.base is None and (self.start is None or self.starts_with_state):
            raise ValueError("give base (an encoder) or start (a checkpoint); a state needs its base too")
        if self.base is not None and self.start is not None and not self.starts_with_state:
            raise ValueError("give either base (an encoder) or start (a checkpoint), not both")
        if self.start is None and self.start_share > 0:
            raise ValueError("start_share belongs to start; there is none")
        if self.base is None and self.memory_tokens is not None:
            raise ValueError("memory_tokens belongs to base; a checkpoint has its own")
        if self.base is None and self.adapter is not None:
            raise ValueError("adapter belongs to base; a checkpoint has its own, or none")
        return self


class ReaderTeacher(StrictModel):
    """A checkpoint, mostly a larger one, whose scores are learnt besides the places that are right."""

    checkpoint: str = Field(description="its name or directory; it must cut text into the tokens of what is trained")
    weight: Share = Field(default=0.5, description="its part of the loss")
    temperature: PositiveFloat = Field(default=2.0, description="what scores are divided by before they are compared")


class ReaderData(StrictModel):
    """Where the data lies. Only what a stage draws from must be there."""

    folder: Path = Field(default=Path(), description="folder that the other paths start at")
    squad: Path = Field(default=Path("squad"), description="file of SQuAD's form, or a folder with one")
    qamr: Path = Field(default=Path("qamr"), description="the same, for QAMR")
    covidqa: Path = Field(default=Path("covidqa"), description="the same, for COVID-QA")
    fairytaleqa: Path = Field(default=Path("fairytaleqa"), description="folder of FairytaleQA")
    molweni: Path = Field(default=Path("molweni"), description="file of Molweni, or a folder with one")
    books: Path = Field(
        default=Path("books"), description="folder of UTF-8 files `First_Last_Title.txt`, for cloze and stories"
    )
    babi: Path = Field(default=Path("babi"), description="folder of bAbI's training files, for stories")
    held_out_authors: tuple[str, ...] = Field(
        default=(),
        description="authors `First_Last` that are not trained on, besides one in six and those of the evaluation",
    )


class ReaderSource(StrictModel):
    """How a stage draws from a source."""

    weight: PositiveFloat = Field(default=1.0, description="how often, compared with the others")
    negatives: Share = Field(default=0.25, description="share of questions put to text that does not answer them")


class ReaderStage(StrictModel):
    """A stage: so many steps on a mixture of sources, from the weights of the stage before."""

    steps: PositiveInt = Field(description="steps of the stage")
    learning_rate: PositiveFloat = Field(default=1.5e-4, description="peak, for the encoder")
    head_learning_rate: PositiveFloat = Field(default=1e-3, description="peak, for memory and heads")
    warm_up: PositiveInt = Field(default=100, description="steps until the peak")
    floor: Share = Field(default=0.03, description="share of the peak that is left at the last step")
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's, of matrices")
    step_tokens: PositiveInt = Field(default=6144, description="about how many tokens of segments a step reads")
    segment_tokens: tuple[SegmentTokens, ...] = Field(
        default=(128, 192, 256, 320, 384), min_length=1, description="lengths of segments; one is drawn for each step"
    )
    memory_share: Share = Field(default=0.2, description="share of steps whose documents have several segments")
    most_segments: int = Field(default=4, ge=2, le=64, description="most segments of a document in those steps")
    memory_segment_tokens: tuple[SegmentTokens, ...] = Field(
        default=(64, 96, 128, 192), min_length=1, description="lengths of segments in those steps"
    )
    windows_share: Share = Field(
        default=0.0, description="share of the other steps whose questions are put to several stretches side by side"
    )
    windows: int = Field(default=4, ge=2, le=16, description="how many stretches in those steps")
    seed: int | None = Field(default=None, description="of this stage's samples, where it is another one")
    share: Share | None = Field(
        default=None, description="of its last weights in the checkpoint's, where that is an average over stages"
    )
    sources: dict[SourceName, ReaderSource] = Field(min_length=1, description="what it draws from")

    @model_validator(mode="after")
    def _windows_of_something(self) -> Self:
        if self.windows_share > 0 and set(self.sources) == {"stories"}:
            raise ValueError("windows_share needs another source than stories: their stretches answer differently")
        return self


class ReaderConfig(StrictModel):
    """The training of a span reader."""

    run_dir: Path = Field(description="folder for the stages' logs and states, and for the checkpoint")
    seed: int = Field(default=2304, description="of fresh weights, samples and their order")
    bfloat16: bool | Literal["auto"] = Field(
        default="auto", description="compute the encoder in bfloat16; auto: on processors that can"
    )
    save_every_s: PositiveFloat = Field(default=300.0, description="seconds between saves of the state")
    # One, although there may be more cores: two OpenMP threads wait for each other many times in a step, and as soon as
    # anything else runs, one of them is always late. Two runs of one thread each do more than one run of two.
    threads: PositiveInt = Field(default=1, description="threads that compute; a further process builds batches")
    model: ReaderModel = Field(description="what is trained")
    data: ReaderData = Field(default=ReaderData(), description="where the data lies")
    teacher: ReaderTeacher | None = Field(default=None, description="whose scores are learnt, too")
    stages: tuple[ReaderStage, ...] = Field(min_length=1, description="one after another")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        shares = [stage.share for stage in self.stages if stage.share is not None]
        if shares and abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"the shares of the stages are {sum(shares):g} together; they must be 1")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a TOML file; relative paths in it start at its folder.

        Raises:
            DataError: The file cannot be read, is not TOML, or fields are unknown, missing or wrong: all are named.
        """
        return read_toml(path, cls)._based_in(path.parent)

    def _based_in(self, folder: Path) -> Self:
        data, names = self.data, ("squad", "qamr", "covidqa", "fairytaleqa", "molweni", "books", "babi")
        places = {name: folder / data.folder / getattr(data, name) for name in names}
        origins = {name: value for name in ("start", "base") if (value := getattr(self.model, name))}
        # A name stays a name; a directory or a state is looked for beside the file.
        found = {name: str(folder / value) for name, value in origins.items() if (folder / value).exists()}
        teacher = self.teacher
        if teacher is not None and (folder / teacher.checkpoint).exists():
            teacher = teacher.model_copy(update={"checkpoint": str(folder / teacher.checkpoint)})
        return self.model_copy(
            update={
                "run_dir": folder / self.run_dir,
                "data": data.model_copy(update={"folder": folder / data.folder, **places}),
                "model": self.model.model_copy(update=found),
                "teacher": teacher,
            }
        )
