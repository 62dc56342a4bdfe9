"""The training of a span reader, put together from its configuration: reader, sources, stages, checkpoint.

Each stage has a folder in the run's, with its log and its state. A stage whose state has all its steps is finished. The
next one starts from its weights.
"""

import shutil
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from peft import LoraConfig
from tokenizers import Tokenizer

from rmt_model.adapter import with_adapter
from rmt_model.backbone import BACKBONES, backbone_digest, find_backbone, load_tokenizer
from rmt_model.checkpoint import base_of, find_checkpoint, read_config
from rmt_model.config import RMTConfig
from rmt_model.data.background import split_by_author
from rmt_model.data.cloze import ClozeSource
from rmt_model.data.corpora import read_fairytales, read_molweni, read_squad
from rmt_model.data.passages import PassageSource
from rmt_model.data.scenes import SceneSource
from rmt_model.data.told import StorySource
from rmt_model.devices import pick_dtype
from rmt_model.encoder import ADAPTED_LAYERS, EncoderConfig, load_encoder
from rmt_model.encoder_checkpoint import load_encoder_checkpoint, save_encoder_checkpoint, special_ids
from rmt_model.errors import DataError, TrainingError
from rmt_model.pointers import LEAST_HIDDEN
from rmt_model.span_reader import SEGMENT_PLACE, SpanReader
from rmt_model.training.span_batches import CorpusSource, SpanBatchBuilder, WeightedSource
from rmt_model.training.span_config import HELD_OUT_AUTHORS, ReaderConfig, ReaderData, ReaderStage, SourceName
from rmt_model.training.span_loss import Teacher
from rmt_model.training.span_trainer import STATE_FILE, Record, SpanSettings, SpanTrainer
from rmt_model.weights import fill, own_weights

__all__ = ["ReaderRun"]

_TRAINING_MULTIPLE, _SERVING_MULTIPLE = 8, 64
"""What segments are padded to."""
_MEMORY_TOKENS, _SEGMENT_TOKENS = 16, 384
_LICENCES = ("LICENSE", "NOTICE")


class ReaderRun:
    """A run that is ready to train, or to go on.

    Attributes:
        config: What it was made from.

    Raises:
        RmtModelError: The model is missing, damaged or does not fit; the message says what, where, and what to do.
    """

    def __init__(self, config: ReaderConfig) -> None:
        self.config = config
        model = config.model
        if model.base is None:
            self._origin = find_checkpoint(str(model.start))
            self._before = read_config(self._origin)
            if self._before.form != "encoder":
                raise TrainingError(f"model.start: {self._origin} holds a decoder; train-reader goes on from encoders")
        else:
            self._origin = find_backbone(model.base)
            self._before = RMTConfig(
                base=_named(model.base, needed=model.adapter is not None),
                base_sha256=backbone_digest(model.base),
                form="encoder",
                memory_tokens=model.memory_tokens or _MEMORY_TOKENS,
                segment_tokens=_SEGMENT_TOKENS,
                update="gated",
                weights="full" if model.adapter is None else "adapter",
            )
        self._segment_tokens = model.segment_tokens or self._before.segment_tokens
        body = self._origin
        if self._before.weights == "adapter":
            body = find_backbone(base := base_of(self._before, self._origin))
            self._before = replace(self._before, base=_named(str(base), needed=True))
        self._require_room(EncoderConfig.of(body))
        self._tokenizer: Tokenizer = load_tokenizer(body)
        self._reader()  # whatever is wrong with the model is said now

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.config.stages)

    @property
    def steps_done(self) -> int:
        """Steps of all stages that are in a saved state."""
        return sum(map(self._step_of, range(len(self.config.stages))))

    def train(self) -> Generator[Record, None, None]:
        """Run to the end of the last stage, yielding a record for each step; where it is closed early, it saves.

        Raises:
            RmtModelError: Data is missing or malformed, before the first step; or a step failed.
        """
        stages = self.config.stages
        left = [number for number, stage in enumerate(stages) if self._step_of(number) < stage.steps]
        self._require_order(left)
        sources = self._open_sources(stages[number] for number in left)
        teacher = self._load_teacher() if left else None
        for number in left:
            trainer = self._trainer(number, sources, teacher)
            with closing(trainer.train()) as records:
                try:
                    for record in records:
                        yield {"stage": number, **record}
                except GeneratorExit:
                    trainer.save()
                    raise

    def save_checkpoint(self) -> Path:
        """Write the last saved weights as `checkpoint` in the run's folder, ready to be served; returns where.

        They are those of the last stage that has begun, or, once all have ended, the average that the shares of the
        stages and of the start say: weights from several points of training together answer better what none of them
        was trained on. Source: Wortsman et al., "Model soups", arXiv 2203.05482.

        Raises:
            TrainingError: There are none.
        """
        stages = self.config.stages
        begun = [number for number in range(len(stages)) if self._step_of(number) > 0]
        if not begun:
            raise TrainingError(f"{self._state_of(0)} is not there yet: nothing was trained")
        shares = {number: stage.share for number, stage in enumerate(stages) if stage.share is not None}
        if not shares or self.steps_done < self.steps:
            shares = {begun[-1]: 1.0}
        reader, trained = self._reader(), 1 - self._start_share
        _load_average(reader, {self._state_of(number): trained * share for number, share in shares.items()})
        config = replace(self._before, segment_tokens=self._segment_tokens, provenance=self._provenance())
        directory = save_encoder_checkpoint(self.config.run_dir / "checkpoint", reader, self._tokenizer, config)
        for name in _LICENCES:
            if (self._origin / name).is_file():
                shutil.copyfile(self._origin / name, directory / name)
        return directory

    @property
    def _start_share(self) -> float:
        """What the start's weights count in the checkpoint: nothing before the last stage has ended."""
        return self.config.model.start_share if self.steps_done == self.steps else 0.0

    def _trainer(self, number: int, sources: dict[SourceName, PassageSource], teacher: Teacher | None) -> SpanTrainer:
        stage, config = self.config.stages[number], self.config
        reader = self._reader()
        if number > 0:
            _load_weights(reader, self._state_of(number - 1))
        weighted = [
            WeightedSource(name, sources[name], one.weight, one.negatives) for name, one in stage.sources.items()
        ]
        native = pick_dtype("fast", torch.device("cpu")) == torch.bfloat16
        settings = SpanSettings(
            **stage.model_dump(exclude={"sources", "seed", "share"}),
            seed=config.seed if stage.seed is None else stage.seed,
            bfloat16=native if config.bfloat16 == "auto" else config.bfloat16,
            save_every_s=config.save_every_s,
        )
        builder = SpanBatchBuilder(self._tokenizer, weighted)
        return SpanTrainer(reader, builder, settings, self._folder_of(number), teacher)

    def _load_teacher(self) -> Teacher | None:
        wanted = self.config.teacher
        if wanted is None:
            return None
        directory = find_checkpoint(wanted.checkpoint)
        if read_config(directory).form != "encoder":
            raise TrainingError(f"teacher.checkpoint: {directory} holds a decoder, which points at nothing")
        exact = self.config.bfloat16 is False
        checkpoint = load_encoder_checkpoint(directory, dtype="float32" if exact else "fast")
        return Teacher.of(checkpoint, self._tokenizer, wanted.weight, wanted.temperature)

    def _reader(self) -> SpanReader:
        """The reader that the first stage starts from, float32; its word vectors are not trained."""
        reader = self._made()
        reader.encoder.words.weight.requires_grad_(False)
        if self.config.model.base is not None and self.config.model.start is not None:
            _load_weights(reader, Path(self.config.model.start))
        return reader

    def _made(self) -> SpanReader:
        model = self.config.model
        if model.base is None:
            return load_encoder_checkpoint(self._origin, dtype="float32", merge=False).model
        cls_id, sep_id = special_ids(self._tokenizer)
        torch.manual_seed(self.config.seed)
        encoder = load_encoder(self._origin)
        reader = SpanReader(encoder, self._before.memory_tokens, cls_id=cls_id, sep_id=sep_id)
        if model.adapter is not None:
            lora = LoraConfig(r=model.adapter.rank, lora_alpha=model.adapter.alpha, target_modules=list(ADAPTED_LAYERS))
            reader.encoder = with_adapter(encoder, lora)
        return reader

    def _require_room(self, sizes: EncoderConfig) -> None:
        """What the encoder is too small for is said before it is trained for hours."""
        if sizes.hidden_size < LEAST_HIDDEN:
            raise TrainingError(
                f"{self._origin}: vectors of {sizes.hidden_size} numbers have no room for pointers, which take "
                f"{LEAST_HIDDEN}: such a reader could not be served"
            )
        lengths = [("model.segment_tokens", self._segment_tokens, _SERVING_MULTIPLE)]
        for number, stage in enumerate(self.config.stages):
            lengths += [
                (f"stages.{number}.{name}", max(getattr(stage, name)), _TRAINING_MULTIPLE)
                for name in ("segment_tokens", "memory_segment_tokens")
            ]
        positions = sizes.positions
        for name, length, multiple in lengths:
            if SEGMENT_PLACE + -(-length // multiple) * multiple + 1 > positions:
                raise DataError(
                    f"{name}: a segment of {length} tokens, padded to a multiple of {multiple}, and the "
                    f"{SEGMENT_PLACE + 1} places around it are more than the encoder's {positions} positions"
                )

    def _require_order(self, left: list[int]) -> None:
        """A stage goes on only while none behind it has begun, which started from other weights."""
        for number in left[:1]:
            later = [one for one in range(number + 1, len(self.config.stages)) if self._step_of(one) > 0]
            if later:
                raise TrainingError(
                    f"{self._folder_of(number)} has fewer steps than stage {number} now asks for, but "
                    f"{self._folder_of(later[0])} started from it: set `steps` back, or remove the later folder"
                )

    def _open_sources(self, stages: Iterable[ReaderStage]) -> dict[SourceName, PassageSource]:
        names = dict.fromkeys(name for stage in stages for name in stage.sources)
        return {name: _open_source(name, self.config.data) for name in names}

    def _step_of(self, number: int) -> int:
        path = self._state_of(number)
        return int(_read_state(path)["step"]) if path.is_file() else 0

    def _folder_of(self, number: int) -> Path:
        return self.config.run_dir / f"stage-{number}"

    def _state_of(self, number: int) -> Path:
        return self._folder_of(number) / STATE_FILE

    def _provenance(self) -> dict[str, object]:
        """What `rmt.json` says of where the weights came from, with what `start` said of itself; no paths."""
        stages = [
            {
                "steps": steps,
                "sources": {name: one.model_dump() for name, one in stage.sources.items()},
                **({} if stage.seed is None else {"seed": stage.seed}),
                **({"share": stage.share} if stage.share is not None and self.steps_done == self.steps else {}),
            }
            for number, stage in enumerate(self.config.stages)
            if (steps := self._step_of(number)) > 0
        ]
        made: dict[str, object] = {
            "base": self._before.base,
            "seed": self.config.seed,
            "steps": self.steps_done,
            "data": sorted({name for stage in self.config.stages for name in stage.sources}),
            "stages": stages,
        }
        if (teacher := self.config.teacher) is not None:
            made["teacher"] = {**teacher.model_dump(), "checkpoint": find_checkpoint(teacher.checkpoint).name}
        if self.config.model.start is not None:
            made["start"] = Path(self.config.model.start).name
            if self._start_share:
                made["start_share"] = self._start_share
        return {**made, "before": self._before.provenance} if self._before.provenance else made


def _named(base: str, *, needed: bool) -> str:
    """A base's name; that of a directory is all of its path where the checkpoint cannot be loaded without it."""
    if base in BACKBONES:
        return base
    return str(Path(base).resolve()) if needed else Path(base).resolve().name


def _open_source(name: SourceName, data: ReaderData) -> PassageSource:
    if name == "scenes":
        return SceneSource("train")
    fields = {"cloze": ("books",), "stories": ("books", "babi")}.get(name, (name,))
    for field in fields:
        path: Path = getattr(data, field)
        if not path.exists():
            raise DataError(f"data.{field}: {path} is not there, and a stage draws from {name}")
    if name == "cloze":
        return ClozeSource(_read_books(path, data.held_out_authors))
    if name == "stories":
        return StorySource.read(path, _read_books(data.books, data.held_out_authors), "train")
    if name == "fairytaleqa":
        return CorpusSource(read_fairytales(path, "train"))
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if len(files) != 1:
            raise DataError(f"data.{field}: {path} holds {len(files)} files *.json; name the one to read")
        [path] = files
    if name == "molweni":
        return CorpusSource(read_molweni(path, "train"))
    one_in = {"squad": 6, "qamr": 12, "covidqa": 7}[name]
    return CorpusSource(read_squad(path, name, "train", one_in=one_in))


def _read_books(folder: Path, held_out: Iterable[str]) -> list[str]:
    books, _ = split_by_author(folder.glob("*.txt"))
    authors = tuple(f"{author}_" for author in (*HELD_OUT_AUTHORS, *held_out))
    texts = [book.read_text(encoding="utf-8", errors="replace") for book in books if not book.name.startswith(authors)]
    if not texts:
        raise DataError(f"data.books: {folder} holds no book to train on: files First_Last_Title.txt are wanted")
    return texts


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not {"step", "masters"} <= state.keys():
            raise TrainingError(f"{path} is no state of a span reader's training")
    except (OSError, RuntimeError, EOFError, AttributeError, UnpicklingError) as error:
        raise TrainingError(f"the state {path} cannot be read: {error}") from error
    return state


def _load_weights(reader: SpanReader, state_file: Path) -> None:
    """Fill a reader with a state's weights: all that are trained."""
    _load_average(reader, {state_file: 1.0})


def _load_average(reader: SpanReader, shares: Mapping[Path, float]) -> None:
    """Fill a reader with an average of states' weights, all that are trained; what the shares leave of 1 is its own."""
    trained = {name for name, weight in reader.named_parameters() if weight.requires_grad}
    targets = {name: weight for name, weight in own_weights(reader).items() if name in trained}
    average = {name: (1 - sum(shares.values())) * weight for name, weight in targets.items()}
    for state_file, share in shares.items():
        fill(targets, _read_state(state_file)["masters"], state_file)
        for name, weight in targets.items():
            average[name] += share * weight
    fill(targets, average, "the average")
