"""Decoding step by step: what is shared, how tokens are drawn, where answers end, and who stops being decoded."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from rmt_model.checkpoint import load_checkpoint
from rmt_model.decoding import Decoding, Row, _drawn
from rmt_model.engine import Engine
from rmt_model.types import GREEDY, Generation, LaneSegment, Prompt, Sampling

S = 16


@pytest.fixture(scope="module")
def engine(tiny_checkpoint: Any) -> Engine:
    return Engine(load_checkpoint(tiny_checkpoint(stop="")), slots=16, max_answer_lanes=8)


@pytest.fixture(scope="module")
def memory(engine: Engine) -> np.ndarray[Any, Any]:
    slots = engine.open(3)
    engine.read([LaneSegment(slot, [7 + slot] * S) for slot in slots])
    memory = engine.memory(slots)
    engine.close(slots)
    return memory


def ids(seed: int, length: int) -> list[int]:
    found: list[int] = torch.randint(1, 300, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return found


def decoded(engine: Engine, memory: Any, prompts: Sequence[Prompt]) -> list[Generation]:
    decoding = engine.decode(memory, prompts)
    while not decoding.finished:
        engine.advance(decoding)
    return [row.generation() for row in decoding.rows]


def approximately(generation: Generation) -> tuple[Any, ...]:
    numbers = pytest.approx([generation.probability, generation.margin], rel=1e-3, abs=1e-9)
    return generation.text, generation.finish_reason, generation.completion_tokens, numbers


def told(generation: Generation) -> tuple[Any, ...]:
    numbers = [generation.probability, generation.margin]
    return generation.text, generation.finish_reason, generation.completion_tokens, numbers


def test_a_shared_context_is_read_once_and_changes_nothing(
    engine: Engine, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = {0: ids(1, 21), 1: ids(2, 5), 2: []}
    questions = [(0, ids(10, 4)), (0, ids(11, 9)), (1, ids(12, 3)), (2, ids(13, 6)), (2, ids(14, 1)), (0, ids(15, 4))]
    shared = [Prompt(slot, [*contexts[slot], *asked], 9, len(contexts[slot])) for slot, asked in questions]
    apart = [Prompt(slot, [*contexts[slot], *asked], 9) for slot, asked in questions]
    lengths: list[int] = []
    body = engine.model.lean_body
    assert body is not None
    hidden = body.hidden

    def counted(inputs: torch.Tensor, *others: Any) -> torch.Tensor:
        lengths.append(inputs.shape[0] * inputs.shape[1])
        return hidden(inputs, *others)

    monkeypatch.setattr(body, "hidden", counted)
    together = decoded(engine, memory, shared)
    M = engine.checkpoint.config.memory_tokens  # noqa: N806
    assert lengths[:2] == [3 * (M + 21), 6 * 9]  # each context once, then the questions behind them
    for found, prompt in zip(together, apart, strict=True):
        assert told(found) == approximately(decoded(engine, memory, [prompt])[0])


def test_temperature_zero_is_greedy_and_so_is_a_nucleus_of_one_token(engine: Engine, memory: Any) -> None:
    prompt = Prompt(0, ids(3, 8), 12)
    (greedy,) = decoded(engine, memory, [prompt])
    narrow = Prompt(0, prompt.token_ids, 12, sampling=Sampling(temperature=1.5, top_p=1e-9, seed=1))
    assert told(decoded(engine, memory, [narrow])[0]) == approximately(greedy)


def test_a_seed_draws_the_same_whatever_is_decoded_beside_it(engine: Engine, memory: Any) -> None:
    def drawing(seed: int | None, slot: int = 0) -> Prompt:
        return Prompt(slot, ids(4, 10), 12, sampling=Sampling(temperature=1.2, top_p=0.95, seed=seed))

    (alone,) = decoded(engine, memory, [drawing(5)])
    beside = decoded(engine, memory, [drawing(6), Prompt(1, ids(5, 30), 12), drawing(5), drawing(5, slot=2)])
    assert beside[2].text == alone.text
    assert len({one.text for one in beside}) == 4
    assert len({decoded(engine, memory, [drawing(None)])[0].text for _ in range(8)}) > 1


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.6)])
def test_tokens_are_drawn_by_their_probability(temperature: float, top_p: float) -> None:
    """400 seeds draw the first token: no more than 5 standard deviations from what softmax and nucleus say."""
    logits = torch.tensor([2.0, 1.5, 1.0, 0.0, -1.0])
    wanted = (logits / temperature).softmax(-1)
    kept = wanted.cumsum(-1) - wanted < top_p
    wanted = torch.where(kept, wanted, 0.0) / wanted[kept].sum()
    samplings = [Sampling(temperature, top_p, seed) for seed in range(400)]
    rows = [Row(Prompt(0, [1], 5, sampling=one), "", lambda _: "", None) for one in samplings]
    drawn = Counter(_drawn(logits.log_softmax(-1).expand(400, -1), rows).tolist())
    for token, share in enumerate(wanted.tolist()):
        spread = (400 * share * (1 - share)) ** 0.5
        assert abs(drawn[token] - 400 * share) <= 5 * spread


def test_the_margin_of_one_token_is_the_distance_to_the_second_best(engine: Engine, memory: Any) -> None:
    prompt = Prompt(0, ids(6, 5), 1)
    (found,) = decoded(engine, memory, [prompt])
    hidden = engine.model.hidden_after(torch.from_numpy(memory[:1]), torch.tensor([prompt.token_ids]))
    best = engine.model.project(hidden[:, -1]).softmax(-1)[0].topk(2).values.tolist()
    assert found.probability == pytest.approx(best[0], rel=1e-4)
    assert found.margin == pytest.approx(best[0] - best[1], rel=1e-3)


def test_the_margin_bounds_every_other_answer(engine: Engine, memory: Any) -> None:
    """All answers of two tokens by brute force: none but the decoded one is likelier than the margin allows."""
    prompt = Prompt(0, ids(7, 5), 2, sampling=Sampling(temperature=1.0, seed=3))
    (found,) = decoded(engine, memory, [prompt])
    start = torch.from_numpy(memory[:1])
    first = engine.model.project(engine.model.hidden_after(start, torch.tensor([prompt.token_ids]))[:, -1]).softmax(-1)[
        0
    ]
    likeliest = []
    for token in range(len(first)):
        hidden = engine.model.hidden_after(start, torch.tensor([[*prompt.token_ids, token]]))
        likeliest += (first[token] * engine.model.project(hidden[:, -1]).softmax(-1)[0]).topk(2).values.tolist()
    others = [one for one in likeliest if abs(one - found.probability) > 1e-9]
    assert max(others) <= found.probability - found.margin + 1e-9


def test_hardly_any_temperature_takes_the_likeliest() -> None:
    logits = torch.tensor([[2.0, 2.5, 1.0], [0.0, -1.0, 3.0]])
    rows = [Row(Prompt(0, [1], 5, sampling=Sampling(5e-324, 1.0, 1)), "", lambda _: "", None) for _ in range(2)]
    assert _drawn(logits.log_softmax(-1), rows).tolist() == [1, 2]


TextOf = Callable[[Sequence[int]], str]


def spoken(engine: Engine, memory: Any, words: Sequence[str], sampling: Sampling = GREEDY, stop: str = "") -> Decoding:
    """A decoding whose n-th token, whichever it is, reads as the n-th word."""
    from dataclasses import replace

    engine.model.config = replace(engine.model.config, stop=stop)
    prompts = [Prompt(0, [1, 2], len(words), sampling=sampling)]
    on_device = torch.from_numpy(memory)
    return Decoding(engine.model, on_device, prompts, lambda taken: "".join(words[: len(taken)]), None)


@pytest.mark.parametrize(
    ("words", "stops", "text", "tokens"),
    [
        (["a", "b", "c"], (), "abc", 3),
        ([" \n", "a", "\n", "b"], ("\n",), "a", 3),
        (["one", " END", "ING", " two"], ("ENDING", "NG"), "one", 3),
        (["one", " EN", "OUGH", " two"], ("ENDING",), "one ENOUGH two", 4),
        (["x", "\ufffd", "y"], (), "x\ufffdy", 3),
        (["so ", " ", " on"], (), "so   on", 3),
        (["stop"], ("stop",), "", 1),
        ([" END", "more"], (" END",), "", 1),
        ([" ", "\n", "END", "more"], ("\nEND",), "", 3),
        ([" \n\n", "one", "\n\n", "two"], ("\n\n",), "one", 3),
    ],
)
@torch.inference_mode()
def test_words_are_told_once_they_are_certain(
    engine: Engine, memory: Any, words: list[str], stops: tuple[str, ...], text: str, tokens: int
) -> None:
    before = engine.model.config
    try:
        decoding = spoken(engine, memory, words, Sampling(stop=stops))
    finally:
        engine.model.config = before
    (row,) = decoding.rows
    told = [row.text]
    while not decoding.finished:
        decoding.step()
        told.append(row.text)
    found = row.generation()
    assert (found.text, found.completion_tokens, told[-1]) == (text, tokens, text)
    assert all(later.startswith(earlier) for earlier, later in pairwise(told))


@torch.inference_mode()
def test_a_half_character_is_not_told(engine: Engine, memory: Any) -> None:
    texts = ["a", "a\ufffd", "aé", "aéb"]
    decoding = Decoding(
        engine.model, torch.from_numpy(memory), [Prompt(0, [1], 4)], lambda taken: texts[len(taken) - 1], None
    )
    told = [decoding.rows[0].text]
    while not decoding.finished:
        decoding.step()
        told.append(decoding.rows[0].text)
    assert told == ["a", "a", "aé", "aéb"]


def test_a_dropped_answer_is_decoded_no_further_and_the_others_are(engine: Engine, memory: Any) -> None:
    prompts = [Prompt(slot, ids(20 + slot, 4 + slot), 12) for slot in range(3)]
    wanted = [decoded(engine, memory, [prompt])[0] for prompt in prompts]
    decoding = engine.decode(memory, prompts)
    engine.advance(decoding)
    decoding.rows[1].drop()
    while not decoding.finished:
        engine.advance(decoding)
    assert decoding.rows[1].generation().completion_tokens == 2
    for number in (0, 2):
        assert told(decoding.rows[number].generation()) == approximately(wanted[number])


def test_a_batch_of_answers_is_bounded(engine: Engine) -> None:
    short = [Prompt(0, [1] * 10, 10)] * 20
    assert engine.answers_at_once(short) == 8
    long = [Prompt(0, [1] * 9000, 1000)] * 5
    assert engine.answers_at_once(long) == 3
    assert engine.answers_at_once([Prompt(0, [1] * 90_000, 10)]) == 1
    assert engine.answers_at_once([]) == 0
    contexts = [Prompt(0, [1] * 8000, 10, context_tokens=7900), Prompt(1, [1] * 8000, 10, context_tokens=10)]
    assert engine.answers_at_once(contexts * 2) == 2  # padded beside each other, each takes nearly twice its length
    assert [len(group) for group in engine.answer_batches([*short, *long])] == [8, 8, 4, 3, 2]
