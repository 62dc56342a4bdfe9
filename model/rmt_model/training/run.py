"""A training run, put together from its configuration: model, background, sources, trainer, and checkpoint."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import LoraConfig
from tokenizers import Tokenizer
from torch import nn

from rmt_model.adapter import with_adapter
from rmt_model.backbone import BACKBONES, load_backbone, load_tokenizer
from rmt_model.checkpoint import base_of, find_checkpoint, load_checkpoint, save_checkpoint
from rmt_model.config import RMTConfig
from rmt_model.data.babi import BabiSource, read_babi_tasks
from rmt_model.data.background import Background, read_texts, split_by_author
from rmt_model.data.documents import Document, DocumentSource, read_fairytales, read_lines, read_squad
from rmt_model.data.mentions import WithMentions
from rmt_model.data.paper import PAPER_TASKS, PaperSource
from rmt_model.data.planted import PlantedSource
from rmt_model.data.story import Source
from rmt_model.data.words import NO_LEXICON, Lexicon
from rmt_model.devices import pick_device, pick_dtype
from rmt_model.errors import DataError, TrainingError
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.training.batches import BatchBuilder, WeightedSource
from rmt_model.training.config import BackgroundConfig, SourceConfig, TrainingConfig
from rmt_model.training.growth import Growth, grow
from rmt_model.training.trainer import Trainer, TrainerSettings

__all__ = ["TrainingRun", "prepare"]


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A run that is ready to train.

    Attributes:
        config: What it was made from.
        trainer: Trains; a state in the run's folder is loaded already.
    """

    config: TrainingConfig
    trainer: Trainer

    @property
    def steps_left(self) -> int:
        """Steps to the end, if no stage ends early."""
        progress, stages = self.trainer.progress, self.config.stages
        return sum(stage.max_steps for stage in stages[progress.stage :]) - progress.stage_step

    def save_checkpoint(self) -> Path:
        """Write the model as `checkpoint` in the run's folder, ready to be served; returns where.

        Raises:
            TrainingError: Some layers do not count in full yet: no checkpoint says how much.
        """
        model, config, growth = self.trainer.model, self.config, self.trainer.growth
        if growth is not None and not growth.finished:
            raise TrainingError(f"the model grows until step {growth.steps}: before that it cannot be served")
        provenance = _provenance(config, self.trainer.progress.step, before=model.config.provenance)
        model.config = replace(model.config, provenance=provenance)
        directory = config.run / "checkpoint"
        base = base_of(model.config, directory)
        if isinstance(base, Path):  # a backbone's directory is named from the checkpoint's
            model.config = replace(model.config, base=str(base.resolve()))
        return save_checkpoint(directory, model, dtype=torch.float16)


def prepare(config: TrainingConfig) -> TrainingRun:
    """Load model and data.

    Raises:
        RmtModelError: Something is missing, malformed or does not fit; the message says what, where, and what to do.
    """
    device = pick_device(config.device)
    torch.manual_seed(config.seed)
    model, tokenizer, growth = _model(config)
    background, lexicon = _background(config.background, tokenizer) if config.background else (None, NO_LEXICON)
    sources = [_Opened(one, background, lexicon, tokenizer) for one in config.sources]
    if background is None:
        _require_length(config, [document for one in sources for document in one.documents], tokenizer)
    weighted = [WeightedSource(one.source, one.config.weight, one.name, one.config.from_tokens) for one in sources]
    settings = TrainerSettings(
        stages=config.stages,
        optimizer=config.optimizer,
        lessons=config.lessons,
        seed=config.seed,
        bfloat16=pick_dtype(config.dtype, device) == torch.bfloat16,
        recompute=None if config.activation_checkpointing == "auto" else config.activation_checkpointing,
        save_every_s=config.save_every_s,
        prefetch=config.prefetch,
        builders=config.builders,
    )
    model = model.to(device)
    if settings.bfloat16:
        _halve_frozen(model.body)
    if config.compile:
        model.body.compile(dynamic=True)
    builder = BatchBuilder(tokenizer, model.config, background, weighted)
    return TrainingRun(config, Trainer(model, builder, settings, config.run, growth))


def _model(config: TrainingConfig) -> tuple[RecurrentMemoryTransformer, Tokenizer, Growth | None]:
    wanted, growth = config.model, None
    if wanted.start is not None:
        directory = find_checkpoint(wanted.start)
        checkpoint = load_checkpoint(directory, dtype="float32", merge=False)
        model, tokenizer = checkpoint.model, checkpoint.tokenizer
        base = base_of(model.config, directory)
        model.config = replace(model.config, base=str(base.resolve()) if isinstance(base, Path) else base)
    else:
        assert wanted.base is not None  # noqa: S101 - the configuration has one of the two
        tokenizer = load_tokenizer(wanted.base)
        if wanted.growth is not None and wanted.adapter is not None:
            model, growth = grow(_named(wanted.base), wanted.growth, wanted.adapter)
        else:
            model = _fresh(config)
    if wanted.segment_tokens is not None:
        model.config = replace(model.config, segment_tokens=wanted.segment_tokens)
    if wanted.weights is not None:
        if model.config.weights == "adapter":
            raise DataError(f"model.weights: {wanted.start} is an adapter, and is kept as one: leave weights out")
        model.config = replace(model.config, weights=wanted.weights)
    if not wanted.train_embeddings:
        for embeddings in (model.backbone.get_input_embeddings(), model.backbone.get_output_embeddings()):
            embeddings.requires_grad_(False)
    return model, tokenizer, growth


def _fresh(config: TrainingConfig) -> RecurrentMemoryTransformer:
    """A backbone with a memory that knows nothing yet."""
    wanted = config.model
    assert wanted.base is not None  # noqa: S101
    backbone = load_backbone(wanted.base, layers=wanted.layers)
    scale = float(backbone.get_input_embeddings().weight.detach().std())
    if wanted.adapter is not None:
        lora = LoraConfig(r=wanted.adapter.rank, lora_alpha=wanted.adapter.alpha, target_modules="all-linear")
        backbone = with_adapter(backbone, lora)
    rmt = RMTConfig(
        base=_named(wanted.base),
        layers=wanted.layers,
        memory_tokens=wanted.memory_tokens or 16,
        segment_tokens=wanted.segment_tokens or 256,
        update=wanted.update or "gated",
        memory_scale=scale,
        weights="full" if wanted.adapter is None else "adapter",
    )
    model = RecurrentMemoryTransformer(backbone, rmt)
    torch.nn.init.normal_(model.cell.initial, std=scale)
    return model


def _named(base: str) -> str:
    """A backbone's name, or its directory from the root."""
    return base if base in BACKBONES else str(Path(base).resolve())


def _halve_frozen(body: nn.Module) -> None:
    """Keep the matrices under an adapter as products in bfloat16 take them, instead of making them so every segment."""
    for layer in body.modules():
        if isinstance(layer, nn.Linear) and not layer.weight.requires_grad:
            layer.to(torch.bfloat16)


def _background(config: BackgroundConfig, tokenizer: Tokenizer) -> tuple[Background, Lexicon]:
    """Text to hide stories in, and the words in it."""
    books, _ = split_by_author(config.books.glob("*.txt"))
    more = [path for folder in config.more for path in (*folder.glob("*.txt"), *folder.glob("*.py"))]
    if not books:
        raise DataError(f"{config.books} holds no book to train on: files First_Last_Title.txt are wanted")
    texts = read_texts([*books, *more], config.chars)
    return Background.of(texts, tokenizer), Lexicon.of(texts)


class _Opened:
    """A source of the configuration with its data read."""

    def __init__(
        self, config: SourceConfig, background: Background | None, lexicon: Lexicon, tokenizer: Tokenizer
    ) -> None:
        self.config = config
        self.documents = list(self._documents())
        if self.documents:
            self.source: Source = DocumentSource(self.documents)
        elif config.kind == "babi":
            assert config.path is not None  # noqa: S101
            tasks = [task for task in config.tasks if isinstance(task, int)]
            self.source = BabiSource(read_babi_tasks(config.path, tasks, "train"))
        elif config.kind == "paper":
            self.source = PaperSource([task for task in config.tasks if not isinstance(task, int)] or PAPER_TASKS)
        else:
            self.source = PlantedSource("train", config.kinds, lexicon)
        if background is not None:
            self.source = WithMentions(self.source, background, tokenizer)

    @property
    def name(self) -> str:
        """Its kind with its tasks, or the name of its file."""
        config = self.config
        file = config.path.stem if config.path is not None and config.kind == "lines" else None
        return " ".join([config.kind, *map(str, config.tasks), *filter(None, [file])])

    def _documents(self) -> Iterable[Document]:
        path = self.config.path
        if path is None or self.config.kind == "babi":
            return ()
        if self.config.kind == "lines":
            return read_lines(path)
        if self.config.kind == "fairytaleqa":
            return read_fairytales(path, "train")
        articles = read_squad(path)
        return articles if self.config.articles == "all" else articles[::2]


def _require_length(config: TrainingConfig, documents: Iterable[Document], tokenizer: Tokenizer) -> None:
    """Without other text around it, a document must fill the longest sample."""
    longest = max(
        (stage.most_segments(mode, length) + 1) * length - 1
        for stage in config.stages
        for length in stage.segment_tokens
        for mode in ("focus", "recall")
    )
    for document in documents:
        tokens = len(tokenizer.encode(document.text, add_special_tokens=False).ids)
        if tokens < longest:
            raise DataError(
                f"{document.name}: the document has {tokens} tokens, the longest sample of the stages {longest}: "
                "lower max_segments or segment_tokens, or give [background] to hide documents in"
            )


def _provenance(config: TrainingConfig, steps: int, before: dict[str, object]) -> dict[str, object]:
    """What `rmt.json` says of where weights came from, with what a checkpoint that was gone on from said; no paths."""
    sources = [
        one.model_dump(include={"kind", "weight", "tasks", "articles"}, exclude_defaults=True) for one in config.sources
    ]
    model = config.model
    start = Path(model.start or (model.growth.start if model.growth is not None else model.base) or "").name
    made = {"start": start, "sources": sources, "seed": config.seed, "steps": steps}
    return {**made, "before": before} if before else made
