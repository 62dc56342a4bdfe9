"""Checkpoints of encoders: written, read back, named by their content, and refused when something is wrong."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny_models import build_span_reader, build_word_pieces
from tokenizers import Tokenizer, models
from torch import Tensor

from rmt_model.calibration import CALIBRATION_FILE, Calibration, Curve
from rmt_model.checkpoint import load_checkpoint
from rmt_model.config import RMTConfig
from rmt_model.delta import read_delta
from rmt_model.encoder_checkpoint import EncoderCheckpoint, load_encoder_checkpoint, save_encoder_checkpoint
from rmt_model.errors import CheckpointError
from rmt_model.span_engine import SpanEngine
from rmt_model.span_reader import SpanReader
from rmt_model.weights import own_weights, read_weights, write_weights

TEXT = "Mary went to the bathroom. John moved to the hallway. Daniel travelled to the office; the worst of times. "
QUESTION = "Where is Mary?"


@torch.no_grad()
def scores(model: SpanReader, tokenizer: Tokenizer) -> Tensor:
    """Scores and memory after two segments: they change with every weight that is used."""
    asked, told = (torch.tensor([tokenizer.encode(text).ids]) for text in (QUESTION, TEXT))
    reading = model.read(model.cell.fresh(1), asked, told)
    reading = model.read(reading.memory, asked, told.flip(1))
    return torch.cat((reading.start.flatten(), reading.end.flatten(), reading.memory.flatten()))


def changed(directory: Path, file: str = "rmt.json", **fields: Any) -> Path:
    """The same checkpoint with other fields in one of its files."""
    raw = json.loads((directory / file).read_text())
    (directory / file).write_text(json.dumps({**raw, **fields}))
    return directory


@pytest.fixture
def reader(word_pieces: Tokenizer) -> SpanReader:
    return build_span_reader(word_pieces.get_vocab_size(), seed=5)


@pytest.fixture
def config() -> RMTConfig:
    return RMTConfig("made", form="encoder", memory_tokens=8, segment_tokens=96, update="gated", provenance={"step": 7})


# ---------------------------------------------------------------------------- round trip


def test_it_is_read_back_as_it_was_written(
    reader: SpanReader, word_pieces: Tokenizer, config: RMTConfig, tmp_path: Path
) -> None:
    """But for what 8 bits cannot tell: 1/254 of the largest weight in a row."""
    directory = save_encoder_checkpoint(tmp_path / "new", reader, word_pieces, config)
    loaded = load_encoder_checkpoint(directory)
    assert isinstance(loaded, EncoderCheckpoint)
    assert (loaded.name, loaded.config, loaded.calibration) == ("new", config, Calibration())
    assert loaded.tokenizer.to_str() == word_pieces.to_str()
    assert not loaded.model.training
    assert (loaded.model.cls_id, loaded.model.sep_id, loaded.model.memory_tokens) == (2, 3, 8)
    wanted, found = own_weights(reader), own_weights(loaded.model)
    assert found.keys() == wanted.keys()
    for name, weight in wanted.items():
        allowed = weight.abs().amax(-1, keepdim=True) / 253 if weight.ndim > 1 else torch.zeros(1)
        assert ((found[name] - weight).abs() <= allowed).all(), name
    before, after = scores(reader, word_pieces), scores(loaded.model, word_pieces)
    assert (after - before).norm() < 0.05 * before.norm()


def test_written_again_it_is_the_same(
    reader: SpanReader, word_pieces: Tokenizer, config: RMTConfig, tmp_path: Path
) -> None:
    first = load_encoder_checkpoint(save_encoder_checkpoint(tmp_path / "a", reader, word_pieces, config))
    again = load_encoder_checkpoint(save_encoder_checkpoint(tmp_path / "b", first.model, first.tokenizer, config))
    torch.testing.assert_close(own_weights(again.model), own_weights(first.model), rtol=1e-5, atol=1e-7)


def test_the_same_weights_are_the_same_bytes(
    reader: SpanReader, word_pieces: Tokenizer, config: RMTConfig, tmp_path: Path
) -> None:
    one, two = (save_encoder_checkpoint(tmp_path / name, reader, word_pieces, config) for name in ("a", "b"))
    files = sorted(path.name for path in one.iterdir())
    assert files == ["config.json", "model.safetensors", "rmt.json", "tokenizer.json"]
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)
    stored = read_weights(one / "model.safetensors")
    assert stored["encoder.words.weight"].dtype == torch.int8
    assert all((one / file).stat().st_mode & 0o044 == 0o044 for file in files)


def test_another_takes_the_place_of_the_first_and_not_its_calibration(
    reader: SpanReader, word_pieces: Tokenizer, config: RMTConfig, tmp_path: Path
) -> None:
    save_encoder_checkpoint(tmp_path, build_span_reader(word_pieces.get_vocab_size()), word_pieces, config)
    curves = Calibration(Curve(0.9, -1.0), Curve(0.8, -1.5), 0.3, 0.8, {}, Curve(0.7, 0.2), 0.4)
    (tmp_path / CALIBRATION_FILE).write_text(curves.to_json())
    first = load_encoder_checkpoint(tmp_path)
    assert first.calibration == curves
    save_encoder_checkpoint(tmp_path, reader, word_pieces, config)
    second = load_encoder_checkpoint(tmp_path)
    assert second.calibration == Calibration()
    assert second.fingerprint != first.fingerprint


def test_memory_and_heads_stay_float32(tiny_encoder_checkpoint: Any) -> None:
    loaded = load_encoder_checkpoint(tiny_encoder_checkpoint(), dtype="bfloat16")
    model = loaded.model
    assert {p.dtype for p in model.encoder.parameters()} == {torch.bfloat16}
    others = [p for name, p in model.named_parameters() if not name.startswith("encoder.")]
    assert {p.dtype for p in others} == {torch.float32}
    exact = load_encoder_checkpoint(tiny_encoder_checkpoint())
    before, after = scores(exact.model, exact.tokenizer), scores(model, loaded.tokenizer)
    assert after.dtype == torch.float32
    assert (after - before).norm() < 0.1 * before.norm()
    assert loaded.fingerprint == exact.fingerprint


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu(tiny_encoder_checkpoint: Any) -> None:
    engine = SpanEngine(load_encoder_checkpoint(tiny_encoder_checkpoint(), device="auto"))
    assert engine.device.type == "cuda"
    assert len(engine.read_windows(QUESTION, [])) == 0


# ---------------------------------------------------------------------------- fingerprint


@pytest.fixture
def directory(tiny_encoder_checkpoint: Any) -> Path:
    """A good checkpoint, to be changed by the test."""
    return tiny_encoder_checkpoint(provenance={"steps": 7})


def test_a_copy_elsewhere_of_another_history_is_the_same(directory: Path, tmp_path: Path) -> None:
    wanted = load_encoder_checkpoint(directory).fingerprint
    copy = shutil.copytree(directory, tmp_path / "elsewhere")
    changed(copy, provenance={"steps": 8}, base="another name", base_sha256="0" * 64)
    (copy / CALIBRATION_FILE).write_text(Calibration(least=0.1).to_json())
    assert load_encoder_checkpoint(copy).fingerprint == wanted


@pytest.mark.parametrize("fields", [{"segment_tokens": 95}, {"max_answer_tokens": 7}], ids=str)
def test_another_meaning_is_another_one(directory: Path, fields: dict[str, Any]) -> None:
    before = load_encoder_checkpoint(directory).fingerprint
    assert load_encoder_checkpoint(changed(directory, **fields)).fingerprint != before


def test_another_weight_is_another_one(directory: Path) -> None:
    before = load_encoder_checkpoint(directory).fingerprint
    from safetensors.torch import save_file

    weights = read_weights(directory / "model.safetensors")
    weights["encoder.words.weight"][5, 5] += 1
    save_file(weights, directory / "model.safetensors")
    assert load_encoder_checkpoint(directory).fingerprint != before


def test_another_size_that_fits_the_weights_is_another_one(directory: Path) -> None:
    before = load_encoder_checkpoint(directory).fingerprint
    assert load_encoder_checkpoint(changed(directory, "config.json", num_attention_heads=4)).fingerprint != before


def test_another_tokenizer_is_another_one(directory: Path) -> None:
    before = load_encoder_checkpoint(directory).fingerprint
    build_word_pieces(most_word_chars=50).save(str(directory / "tokenizer.json"))
    assert load_encoder_checkpoint(directory).fingerprint != before


@pytest.mark.parametrize(
    ("config", "digests", "wanted"),
    [
        (RMTConfig(base="x"), ("a",), "db1bfd22960c6f236f702b977d282db2"),
        (
            RMTConfig(base="y", memory_tokens=4, layers=(0, 2), weights="delta", provenance={"s": 1}),
            ("a", "b"),
            "7ebc6e713d4b6051b122d8b1ebbd7e0c",
        ),
    ],
)
def test_decoders_keep_the_names_that_they_had_before_there_were_encoders(
    config: RMTConfig, digests: tuple[str, ...], wanted: str
) -> None:
    assert config.fingerprint(*digests) == wanted
    assert replace(config, form="encoder").fingerprint(*digests) != wanted


def test_the_form_is_written_and_one_without_it_is_a_decoder() -> None:
    config = RMTConfig(base="x", form="encoder")
    assert RMTConfig.from_json(config.to_json()) == config
    assert RMTConfig.from_json('{"format_version": 1, "base": "x"}').form == "decoder"
    for form in ("coder", None, ["encoder"]):
        with pytest.raises(CheckpointError, match="'form' must be 'decoder' or 'encoder'"):
            RMTConfig(base="x", form=form)


# ---------------------------------------------------------------------------- refusals


def refusal(directory: Path, *expected: str, **options: Any) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_encoder_checkpoint(directory, **options)
    for text in expected:
        assert text in str(caught.value)


@pytest.mark.parametrize("file", ["rmt.json", "config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("kept", [None, 0, 40, -2])
def test_a_file_that_is_missing_or_torn_is_named(directory: Path, file: str, kept: int | None) -> None:
    path = directory / file
    content = path.read_bytes().rstrip()
    path.unlink() if kept is None else path.write_bytes(content[:kept])
    refusal(directory, file, str(directory))


@pytest.mark.parametrize("file", ["rmt.json", "config.json", "tokenizer.json", "model.safetensors"])
def test_what_is_no_text_and_no_weights_is_named(directory: Path, file: str) -> None:
    (directory / file).write_bytes(b"\xff\xfe\x00 nothing")
    refusal(directory, str(directory))


def test_a_pickle_is_refused(directory: Path) -> None:
    torch.save(read_weights(directory / "model.safetensors"), directory / "model.safetensors")
    refusal(directory, "model.safetensors", "pickle")


def test_a_scale_that_is_missing(directory: Path) -> None:
    from safetensors.torch import save_file

    weights = read_weights(directory / "model.safetensors")
    del weights["span_head.weight.scale"]
    save_file(weights, directory / "model.safetensors")
    refusal(directory, "scale", "span_head.weight")


def test_weights_that_are_missing_or_unknown(directory: Path) -> None:
    path = directory / "model.safetensors"
    weights = read_delta(path, {name: torch.zeros_like(w) for name, w in own_weights(loaded(directory)).items()})
    write_weights(path, {name: weight for name, weight in weights.items() if name != "from_memory"})
    refusal(directory, "lacks tensors", "from_memory")
    write_weights(path, {**weights, "pooler": torch.ones(2)})
    refusal(directory, "pooler")
    write_weights(path, {**weights, "from_memory": torch.ones(128, 127)})
    refusal(directory, "from_memory", "[128, 127]", "[128, 128]")


def loaded(directory: Path) -> SpanReader:
    return load_encoder_checkpoint(directory).model


def test_weights_that_are_no_numbers(directory: Path) -> None:
    from safetensors.torch import save_file

    weights = read_weights(directory / "model.safetensors")
    weights["span_head.bias"][0] = float("nan")
    save_file(weights, directory / "model.safetensors")
    refusal(directory, "span_head.bias", "finite")


@pytest.mark.parametrize(
    ("file", "fields", "expected"),
    [
        ("rmt.json", {"memory_tokens": 7}, ("cell.initial", "[8, 128]", "[7, 128]")),
        ("rmt.json", {"segment_tokens": 448}, ("448 tokens is too long for 512 positions",)),
        ("rmt.json", {"segment_tokens": 0}, ("segment_tokens",)),
        ("rmt.json", {"form": "coder"}, ("'form' must be",)),
        ("rmt.json", {"memry": 1}, ("memry",)),
        ("config.json", {"num_hidden_layers": 3}, ("layers.2",)),
        ("config.json", {"num_hidden_layers": 1}, ("layers.1",)),
        ("config.json", {"hidden_size": 64}, ("[",)),
        ("config.json", {"model_type": "gpt2"}, ("model_type 'bert'",)),
        ("config.json", {"num_attention_heads": 0}, ("cannot be built",)),
    ],
    ids=str,
)
def test_a_description_that_does_not_fit(
    directory: Path, file: str, fields: dict[str, Any], expected: tuple[str, ...]
) -> None:
    refusal(changed(directory, file, **fields), *expected)


def test_a_tokenizer_that_is_not_of_berts_form(directory: Path, tiny_tokenizer: Tokenizer) -> None:
    path = str(directory / "tokenizer.json")
    tiny_tokenizer.save(path)
    changed(directory, "config.json", vocab_size=400)
    refusal(directory, "neither [CLS]", "not of BERT's or MPNet's form")
    Tokenizer(models.WordPiece({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3}, unk_token="[UNK]")).save(path)
    refusal(directory, "[PAD] as token 0")
    Tokenizer(models.WordPiece({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2}, unk_token="[UNK]")).save(path)
    refusal(directory, "neither [CLS] and [SEP]")


def test_more_tokens_than_embeddings(directory: Path) -> None:
    larger = build_word_pieces()
    larger.add_tokens(["one more"])
    larger.save(str(directory / "tokenizer.json"))
    refusal(directory, "more tokens")


def test_a_tokenizer_that_cuts_and_pads_does_neither_here(directory: Path) -> None:
    tokenizer = build_word_pieces()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(directory / "tokenizer.json"))
    assert 6 < len(load_encoder_checkpoint(directory).tokenizer.encode(TEXT).ids) != 64


@pytest.mark.parametrize("device", ["cuda:99", "abacus", ""])
def test_a_device_that_is_not_there(directory: Path, device: str) -> None:
    refusal(directory, "cpu or auto", device=device)


def test_each_kind_says_that_it_is_not_the_other(directory: Path, tiny_checkpoint: Any) -> None:
    with pytest.raises(CheckpointError, match="holds an encoder, which writes no answers; see load_encoder_checkpoint"):
        load_checkpoint(directory)
    refusal(tiny_checkpoint(), "holds a decoder", "see load_checkpoint")


# ---------------------------------------------------------------------------- saving


def test_where_there_is_a_file(reader: SpanReader, word_pieces: Tokenizer, config: RMTConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_encoder_checkpoint(tmp_path / "file", reader, word_pieces, config)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_failure_leaves_nothing_that_looks_whole(
    directory: Path, reader: SpanReader, word_pieces: Tokenizer, config: RMTConfig, value: float
) -> None:
    with torch.no_grad():
        reader.span_head.weight[0, 0] = value
    with pytest.raises(CheckpointError, match=r"span_head\.weight"):
        save_encoder_checkpoint(directory, reader, word_pieces, config)
    refusal(directory, "rmt.json")
