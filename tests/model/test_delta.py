"""Weights in 8 bits are what they were, but for a rounding that is bounded, and a damaged file is an error."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rmt_model.checkpoint import load_checkpoint, save_checkpoint
from rmt_model.config import RMTConfig
from rmt_model.delta import read_delta, write_delta
from rmt_model.errors import CheckpointError
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.weights import own_weights


@pytest.fixture
def originals() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"matrix": torch.randn(8, 32), "norm": torch.randn(16), "other": torch.randn(4, 4)}


def test_the_error_is_at_most_half_a_step_of_the_row(originals, tmp_path: Path) -> None:
    changed = {"matrix": originals["matrix"] + torch.randn(8, 32) * torch.logspace(-6, 2, 8)[:, None]}
    changed["norm"] = originals["norm"] + 0.1
    write_delta(tmp_path / "delta", changed, originals)
    read = read_delta(tmp_path / "delta", originals)

    assert read.keys() == changed.keys()
    largest = (changed["matrix"] - originals["matrix"]).abs().amax(-1, keepdim=True)
    assert ((read["matrix"] - changed["matrix"]).abs() <= largest / 254 + 1e-5).all()
    torch.testing.assert_close(read["norm"], changed["norm"])


def test_a_row_that_has_not_changed_stays(originals, tmp_path: Path) -> None:
    changed = {"matrix": originals["matrix"].clone()}
    changed["matrix"][3] += 1
    write_delta(tmp_path / "delta", changed, originals)
    read = read_delta(tmp_path / "delta", originals)["matrix"]

    assert torch.equal(read[:3], originals["matrix"][:3])
    torch.testing.assert_close(read[3], changed["matrix"][3])


def test_a_checkpoint_in_8_bits(tiny_backbone, backbone_dir, tmp_path: Path) -> None:
    def written(weights: str) -> Path:
        config = RMTConfig(str(backbone_dir()), memory_tokens=4, update="gated", weights=weights)  # type: ignore[arg-type]
        return save_checkpoint(tmp_path / weights, RecurrentMemoryTransformer(tiny_backbone(seed=5), config))

    full, delta = load_checkpoint(written("full")), load_checkpoint(written("delta"))
    sizes = [(tmp_path / form / "model.safetensors").stat().st_size for form in ("full", "delta")]
    assert sizes[1] < 0.45 * sizes[0]
    for name, weight in own_weights(full.model).items():
        torch.testing.assert_close(own_weights(delta.model)[name], weight, rtol=0, atol=0.01)
    assert full.fingerprint != delta.fingerprint
    again = load_checkpoint(save_checkpoint(tmp_path / "again", delta.model))
    for name, weight in own_weights(delta.model).items():
        torch.testing.assert_close(own_weights(again.model)[name], weight, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("matrix.scale"), "lacks the scale, or the 8-bit tensor, of: matrix"),
        (lambda tensors: tensors.pop("matrix"), "lacks the scale, or the 8-bit tensor, of: matrix"),
        (lambda tensors: tensors.update(stranger=torch.ones(2)), "has tensors that the model lacks: stranger"),
        (lambda tensors: tensors.update(matrix=torch.ones(2, 2, dtype=torch.int8)), r"matrix has shape \[2, 2\]"),
        (lambda tensors: tensors.update({"matrix.scale": torch.ones(8)}), "matrix has shape"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(originals, tmp_path: Path, change, message: str) -> None:
    write_delta(tmp_path / "delta", {"matrix": originals["matrix"] + 1}, originals)
    tensors = load_file(tmp_path / "delta")
    change(tensors)
    save_file(tensors, tmp_path / "delta")

    with pytest.raises(CheckpointError, match=message):
        read_delta(tmp_path / "delta", originals)


def test_weights_that_are_no_numbers_are_not_written(originals, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not finite numbers: matrix"):
        write_delta(tmp_path / "delta", {"matrix": originals["matrix"] / 0}, originals)
