"""The curriculum: which stage a run is in, what the next batch looks like, and when the next stage begins."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from rmt_model.data.story import Mode
from rmt_model.training.batches import SampleShape
from rmt_model.training.config import Stage

__all__ = ["Curriculum", "Progress"]

_RUNNING = 0.1
"""Weight of the newest batch in a running accuracy."""
_QUESTION_TOKENS = 20
_FOCUS_TOKENS = 16
_SHORT_PARTIAL = 32
_LEAST_LANES = 2


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        step: Steps done.
        stage: Number of the stage.
        stage_step: Steps done in it.
        accuracy: Running accuracy by mode, over the batches with the stage's most segments.
    """

    step: int = 0
    stage: int = 0
    stage_step: int = 0
    accuracy: dict[str, float] = field(default_factory=dict)


class Curriculum:
    """Draws shapes; what it draws depends on seed, step and stage alone.

    Args:
        stages: The stages, in order.
        seed: Seed of all draws.
        memory_tokens: M, which a batch's size depends on.
    """

    def __init__(self, stages: Sequence[Stage], seed: int, memory_tokens: int) -> None:
        self.stages = tuple(stages)
        self.seed = seed
        self.memory_tokens = memory_tokens

    def finished(self, progress: Progress) -> bool:
        """Whether the last stage has ended."""
        return progress.stage >= len(self.stages)

    def rate(self, progress: Progress, warmup_steps: int, decay_steps: int) -> float:
        """Share of the peak learning rate: warm-up, plateau, and a fall to a tenth at the end of the last stage."""
        rate = min(1.0, (progress.step + 1) / warmup_steps)
        if progress.stage == len(self.stages) - 1:
            left = self.stages[-1].max_steps - progress.stage_step
            rate *= max(0.1, min(1.0, left / decay_steps))
        return rate

    def shape(self, step: int, stage_number: int, part: int = 0) -> SampleShape:
        """What all documents of a batch have in common.

        Some batches have the stage's most segments, the others any smaller number: short documents are not forgotten.
        """
        stage, rng = self.stages[stage_number], Random(f"{self.seed}-shape-{step}-{part}")
        names: tuple[Mode, ...] = ("focus", "recall", "both")
        mode = rng.choices(names, [getattr(stage.modes, name) for name in names])[0]
        length = rng.choice(stage.segment_tokens)
        most = stage.most_segments(mode, length)
        segments = most if rng.random() < stage.longest_share else rng.randint(0, most)
        if segments == 0:
            partial = rng.randint(min(_QUESTION_TOKENS, length - 1), length - 1)
        else:  # mostly a short one: what there is to learn lies in the segments before it
            partial = rng.randrange(0, length if rng.random() < 0.3 else min(_SHORT_PARTIAL, length))
        around = 2 * self.memory_tokens + (0 if mode == "recall" else _FOCUS_TOKENS)
        branches = (segments + 1) * stage.questions * _QUESTION_TOKENS + segments * stage.endings * self.memory_tokens
        document = segments * (length + around) + partial + around + branches
        lanes = max(_LEAST_LANES, min(stage.max_lanes, stage.step_tokens // document))
        return SampleShape(mode, lanes, segments, length, partial, stage.questions, stage.endings)

    def advance(self, progress: Progress, results: Sequence[tuple[SampleShape, float]]) -> None:
        """Count a step whose batches had these accuracies; go to the next stage when this one is done."""
        stage = self.stages[progress.stage]
        for shape, accuracy in results:
            if shape.segments == stage.most_segments(shape.mode, shape.segment_tokens):
                before = progress.accuracy.get(shape.mode, 0.0)
                progress.accuracy[shape.mode] = before + _RUNNING * (accuracy - before)
        progress.step += 1
        progress.stage_step += 1
        drawn = [name for name, weight in stage.modes.model_dump().items() if weight > 0]
        wanted = stage.advance_at
        good = wanted is not None and all(progress.accuracy.get(mode, 0.0) >= wanted for mode in drawn)
        if good or progress.stage_step >= stage.max_steps:
            progress.stage, progress.stage_step, progress.accuracy = progress.stage + 1, 0, {}
