"""Equality with the official formula, truncation of gradients, and the update rules."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from rmt_model.config import RMTConfig
from rmt_model.decoding import Decoding
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.types import Prompt

FAMILIES = ("llama", "gpt2", "qwen2", "gpt_neox")
M, S = 4, 16


def official_memory(backbone: PreTrainedModel, memory: Tensor, segments: Sequence[Tensor]) -> Tensor:
    """The official reading, written anew: the same vectors around a segment, the last M states out of it."""
    for segment in segments:
        vectors = backbone.get_input_embeddings()(segment)
        inputs = torch.cat([memory, vectors, memory], dim=1)
        memory = backbone(inputs_embeds=inputs, output_hidden_states=True).hidden_states[-1][:, -M:]
    return memory


def official_last_inputs(backbone: PreTrainedModel, memory: Tensor, segment: Tensor) -> Tensor:
    return torch.cat([memory, backbone.get_input_embeddings()(segment)], dim=1)


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest, tiny_backbone) -> RecurrentMemoryTransformer:
    config = RMTConfig("tiny", memory_tokens=M, segment_tokens=S)
    model = RecurrentMemoryTransformer(tiny_backbone(request.param), config)
    with torch.no_grad():
        model.cell.initial.normal_(generator=torch.manual_seed(3))
    return model.eval()


@pytest.fixture
def segments(tiny_tokenizer) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return list(torch.randint(1, tiny_tokenizer.get_vocab_size(), (21, 2, S), generator=generator))


@torch.no_grad()
def test_memory_and_logits_equal_the_official_formula(model, segments) -> None:
    *whole, last = segments
    assert len(whole) == 20
    start = model.cell.initial.expand(2, -1, -1)
    ours = model.read_all(model.cell.fresh(2), whole)
    official = official_memory(model.backbone, start, whole)
    torch.testing.assert_close(ours, official, rtol=1e-5, atol=1e-5)

    logits = model.project(model.hidden_after(ours, last[:, :9]))
    inputs = official_last_inputs(model.backbone, official, last[:, :9])
    torch.testing.assert_close(logits, model.backbone(inputs_embeds=inputs).logits[:, M:], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_greedy_answers_equal_those_of_generate(model, segments) -> None:
    memory = official_memory(model.backbone, model.cell.initial.expand(2, -1, -1), segments[:5])
    ids = segments[5][:, :7]
    inputs = official_last_inputs(model.backbone, memory, ids)
    mask = torch.ones(inputs.shape[:2], dtype=torch.long)
    wanted = model.backbone.generate(
        inputs_embeds=inputs, attention_mask=mask, max_new_tokens=8, do_sample=False, eos_token_id=None
    )

    ours = model.read_all(model.cell.fresh(2), segments[:5])
    prompts = [Prompt(lane, row.tolist(), max_tokens=8) for lane, row in enumerate(ids)]
    decoding = Decoding(model, ours, prompts, lambda token_ids: " ".join(map(str, token_ids)), None)
    while not decoding.finished:
        decoding.step()
    assert [[int(token) for token in row.generation().text.split()] for row in decoding.rows] == wanted.tolist()


@torch.no_grad()
def test_memory_depends_on_every_segment_and_their_order(model, segments) -> None:
    memory = model.read_all(model.cell.fresh(2), segments[:3])
    assert not torch.allclose(memory, model.read_all(model.cell.fresh(2), segments[1:3]))
    assert not torch.allclose(memory, model.read_all(model.cell.fresh(2), [segments[1], segments[0], segments[2]]))


@torch.no_grad()
def test_lanes_do_not_see_one_another(model, segments) -> None:
    together = model.read_all(model.cell.fresh(2), segments[:4])
    alone = model.read_all(model.cell.fresh(1), [segment[1:] for segment in segments[:4]])
    torch.testing.assert_close(together[1:], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kept", [1, 2, 4])
def test_truncation_stops_gradients_where_it_should(model, segments, kept: int) -> None:
    """Neither the memory before the last `kept` segments nor the vectors of earlier ones get a gradient."""
    torch.manual_seed(0)
    start = torch.randn(2, M, model.hidden, requires_grad=True)
    vectors: list[Tensor] = []
    embed = model.embed

    def recorded(token_ids: Tensor) -> Tensor:
        vectors.append(embed(token_ids).detach().requires_grad_())
        return vectors[-1]

    model.embed = recorded
    model.read_all(start, segments[:4], bptt_segments=kept).sum().backward()
    touched = [vector.grad is not None and bool(vector.grad.abs().sum() > 0) for vector in vectors]
    assert touched == [index >= 4 - kept for index in range(4)]
    assert (start.grad is not None) == (kept == 4)


def test_truncated_gradient_is_that_of_the_last_segments_alone(model, segments) -> None:
    with torch.no_grad():
        middle = model.read_all(model.cell.fresh(2), segments[:3])
    parameter = next(p for p in model.body.parameters() if p.dim() == 2)
    (wanted,) = torch.autograd.grad(model.read_all(middle, segments[3:5]).square().sum(), parameter)
    whole = model.read_all(model.cell.fresh(2), segments[:5], bptt_segments=2)
    (found,) = torch.autograd.grad(whole.square().sum(), parameter)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kept", [None, 4, 9])
def test_without_truncation_gradients_reach_the_initial_memory(model, segments, kept: int | None) -> None:
    model.read_all(model.cell.fresh(2), segments[:4], bptt_segments=kept).square().sum().backward()
    assert float(model.cell.initial.grad.abs().sum()) > 0


@torch.no_grad()
def test_scale_multiplies_what_was_written(tiny_backbone, segments) -> None:
    backbone = tiny_backbone("llama")
    plain = RecurrentMemoryTransformer(backbone, RMTConfig("tiny", memory_tokens=M))
    scaled = RecurrentMemoryTransformer(backbone, RMTConfig("tiny", memory_tokens=M, memory_scale=0.25))
    memory = torch.randn(2, M, plain.hidden)
    torch.testing.assert_close(scaled.write(memory, segments[0]), 0.25 * plain.write(memory, segments[0]))


class TestGatedUpdate:
    @pytest.fixture
    def gated(self, tiny_backbone) -> RecurrentMemoryTransformer:
        return RecurrentMemoryTransformer(
            tiny_backbone("llama"), RMTConfig("tiny", memory_tokens=M, update="gated")
        ).requires_grad_(False)

    def test_starts_as_the_mean_of_old_and_written(self, gated, segments) -> None:
        old = torch.randn(2, M, gated.hidden)
        wanted = (old + gated.write(old, segments[0])) / 2
        torch.testing.assert_close(gated.read(old, segments[0]), wanted)

    @pytest.mark.parametrize(("bias", "keeps"), [(1.2, True), (-1.2, False)])
    def test_a_closed_gate_keeps_every_bit_and_an_open_one_replaces(self, gated, segments, bias, keeps) -> None:
        """A little beyond ln 3 is enough: nothing leaks, however many segments follow."""
        gated.cell.update.bias.fill_(bias)
        old = torch.randn(2, M, gated.hidden)
        wanted = old if keeps else gated.write(old, segments[0])
        torch.testing.assert_close(gated.read(old, segments[0]), wanted, rtol=0, atol=0)

    def test_gate_is_the_documented_formula_for_each_vector(self, gated) -> None:
        update, d = gated.cell.update, gated.hidden
        for parameter in update.parameters():
            parameter.normal_(std=0.1)
        old, written = torch.randn(2, M, d), torch.randn(2, M, d)
        mixed = update(old, written)
        for lane in range(2):
            all_old, all_written = old[lane].sum(0) / M, written[lane].sum(0) / M
            together = update.from_all_written.dot(all_written) + update.from_all_old.dot(all_old)
            for index in range(M):
                o, w = old[lane, index], written[lane, index]
                logit = update.from_written.dot(w) + update.from_old.dot(o) + together + update.bias[index]
                g = min(1.0, max(0.0, 2 / (1 + math.exp(-logit)) - 0.5))
                torch.testing.assert_close(mixed[lane, index], g * o + (1 - g) * w)
