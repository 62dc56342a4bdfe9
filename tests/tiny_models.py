"""A plugin for all tests: tiny real models with random weights, a tiny trained tokenizer, checkpoints made of them.

``tiny_backbone(family)`` builds a model, ``backbone_dir(family)`` a Hugging Face directory of it, and
``tiny_checkpoint(...)`` a whole checkpoint directory. Of an encoder there are ``word_pieces``, its tokenizer, and
``tiny_encoder_checkpoint(...)``. ``smollm2_tokenizer`` is the real one. The functions behind them serve what runs
without pytest, too.

PyTorch is imported by what needs it, so that tests of a client start at once.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

    from rmt_model.span_reader import SpanReader

BackboneFactory = Callable[..., "PreTrainedModel"]
DirectoryFactory = Callable[..., Path]

END_OF_TEXT = "<|endoftext|>"
LORA_TARGETS = {"llama": ["q_proj", "v_proj", "down_proj"], "gpt2": ["c_attn", "c_proj"]}
TEXT = """Mary went to the bathroom. John moved to the hallway. Where is Mary? Mary is in the bathroom.
Daniel travelled to the office; Sandra journeyed back to the garden, the kitchen and the bedroom.
It was the best of times, it was the worst of times, it was the age of wisdom. Question: who? Answer: he.
"""

SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MPNET_PIECES = ("<s>", "<pad>", "</s>", "<unk>", "[UNK]")
JAMO = "\u1100\u1112\u1161\u116e\u11a8\u11ab"  # what normalising makes of 한국
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789" + "абвгдежзийклмнопрстуфхцчшщъыьэюя" + "नमसतदकबहिाे" + JAMO
SYMBOLS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" + "。，！？…“”‘’—" + "中国北京人大"
SUFFIXES = ("##s", "##ed", "##ing", "##er", "##ly", "##to", "##ay", "##\u11ab\u1100")  # the last one of 한국, too


def train_tokenizer() -> Tokenizer:
    """A byte-level BPE tokenizer with 400 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return tokenizer


def build_word_pieces(*, most_word_chars: int = 100, special: Sequence[str] = SPECIAL_PIECES) -> Tokenizer:
    """A WordPiece tokenizer of BERT's form, lower case and without accents, with a few hundred tokens."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    words = dict.fromkeys("".join(c if c.isalpha() else " " for c in TEXT.lower()).split())
    pieces = [*special, *LETTERS, *SYMBOLS, *(f"##{letter}" for letter in LETTERS), *SUFFIXES, *words]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    model = models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=most_word_chars)
    tokenizer = Tokenizer(model)
    tokenizer.add_special_tokens(list(special))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def build_span_reader(vocab_size: int, *, memory_tokens: int = 8, seed: int = 1, **sizes: int) -> SpanReader:
    """A random encoder with memory: 2 layers, vectors of 128."""
    import torch

    from rmt_model.encoder import Encoder, EncoderConfig
    from rmt_model.span_reader import SpanReader

    common = {
        "num_hidden_layers": 2,
        "hidden_size": 128,
        "num_attention_heads": 2,
        "intermediate_size": 256,
        "vocab_size": vocab_size,
    }
    torch.manual_seed(seed)
    reader = SpanReader(
        Encoder(EncoderConfig(**(common | sizes))),
        memory_tokens,
        cls_id=SPECIAL_PIECES.index("[CLS]"),
        sep_id=SPECIAL_PIECES.index("[SEP]"),
    )
    with torch.no_grad():
        for parameter in reader.cell.update.parameters():
            parameter += 0.03 * torch.randn_like(parameter)
    return reader.eval()


def write_encoder_base(directory: Path, tokenizer: Tokenizer, form: str = "bert", **sizes: int) -> Path:
    """A random encoder of BERT's or MPNet's form as a Hugging Face directory."""
    import torch
    from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel

    common = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
    }
    torch.manual_seed(0)
    kind, config = (BertModel, BertConfig) if form == "bert" else (MPNetModel, MPNetConfig)
    kind(config(**{**common, **sizes})).save_pretrained(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "LICENSE").write_text("Apache License")
    return directory


def write_encoder_checkpoint(
    directory: Path, seed: int = 1, sizes: dict[str, int] | None = None, **fields: Any
) -> Path:
    """A checkpoint of a random encoder; by default 8 memory vectors and segments of 96 tokens."""
    from rmt_model.config import RMTConfig
    from rmt_model.encoder_checkpoint import save_encoder_checkpoint

    options = {"base": "random", "memory_tokens": 8, "segment_tokens": 96, "update": "gated", **fields}
    config = RMTConfig(form="encoder", **options)
    tokenizer = build_word_pieces()
    reader = build_span_reader(
        tokenizer.get_vocab_size(), memory_tokens=config.memory_tokens, seed=seed, **(sizes or {})
    )
    return save_encoder_checkpoint(directory, reader, tokenizer, config)


def build_backbone(vocab_size: int, family: str = "llama", layers: int = 2, seed: int = 0) -> PreTrainedModel:
    """A random model."""
    import torch
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
        LlamaConfig,
        LlamaForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    torch.manual_seed(seed)
    # The wide start keeps random logits apart, so that greedy choices are no coin tosses.
    common: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    grouped = {"intermediate_size": 64, "num_key_value_heads": 2}
    builders: dict[str, Callable[[], PreTrainedModel]] = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**common, **grouped, tie_word_embeddings=True)),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**common, n_positions=512)),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**common, **grouped)),
        "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**common, intermediate_size=64)),
    }
    return builders[family]().eval()


def write_backbone(
    directory: Path, tokenizer: Tokenizer, family: str = "llama", layers: int = 2, seed: int = 0
) -> Path:
    """A Hugging Face directory of a random model."""
    from rmt_model.backbone import quiet_transformers

    with quiet_transformers():
        build_backbone(tokenizer.get_vocab_size(), family, layers, seed).save_pretrained(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def write_checkpoint(directory: Path, base: Path, family: str = "llama", seed: int = 1, **fields: Any) -> Path:
    """A checkpoint of random weights on a base; by default 4 memory vectors, segments of 16 tokens, a gated update."""
    import torch

    from rmt_model.adapter import with_adapter
    from rmt_model.backbone import load_backbone
    from rmt_model.checkpoint import save_checkpoint
    from rmt_model.config import RMTConfig
    from rmt_model.recurrent import RecurrentMemoryTransformer

    options = {"base": str(base), "memory_tokens": 4, "segment_tokens": 16, "update": "gated", **fields}
    config = RMTConfig(**options)
    model = RecurrentMemoryTransformer(load_backbone(base, layers=config.layers), config)
    torch.manual_seed(seed)
    if config.weights == "adapter":
        from peft import LoraConfig

        model.backbone = with_adapter(
            model.backbone, LoraConfig(r=2, lora_alpha=8, target_modules=LORA_TARGETS[family])
        )
    with torch.no_grad():
        trained = [p for p in model.backbone.parameters() if p.requires_grad and p.dim() == 2]
        for parameter in [*model.cell.parameters(), *trained[1:]]:
            parameter += 0.1 * torch.randn_like(parameter)
    return save_checkpoint(directory, model)


def write_served_checkpoint(directory: Path, segment_tokens: int = 32) -> Path:
    """The smallest checkpoint that a server can serve, with its base beside it."""
    base = write_backbone(directory / "base", train_tokenizer(), layers=1)
    return write_checkpoint(directory / "checkpoint", base, segment_tokens=segment_tokens)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    """A byte-level BPE tokenizer with 400 tokens."""
    return train_tokenizer()


@pytest.fixture(scope="session")
def tiny_backbone(tiny_tokenizer: Tokenizer) -> BackboneFactory:
    """Builds a random model: ``tiny_backbone(family, layers=2, seed=0)``."""
    return partial(build_backbone, tiny_tokenizer.get_vocab_size())


@pytest.fixture(scope="session")
def backbone_dir(tiny_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> DirectoryFactory:
    """Writes a Hugging Face directory: ``backbone_dir(family, layers=2, seed=0)``; the same one each time."""
    made: dict[tuple[str, int, int], Path] = {}

    def make(family: str = "llama", layers: int = 2, seed: int = 0) -> Path:
        key = (family, layers, seed)
        if key not in made:
            made[key] = write_backbone(tmp_path_factory.mktemp(f"{family}-{layers}-{seed}"), tiny_tokenizer, *key)
        return made[key]

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(backbone_dir: DirectoryFactory, tmp_path_factory: pytest.TempPathFactory) -> DirectoryFactory:
    """Writes a checkpoint of random weights on a tiny base, a new directory each time.

    ``tiny_checkpoint(family="llama", base_layers=2, seed=1, **fields of RMTConfig)``: see ``write_checkpoint``.
    """

    def make(family: str = "llama", base_layers: int = 2, seed: int = 1, **fields: Any) -> Path:
        base = backbone_dir(family, base_layers)
        return write_checkpoint(tmp_path_factory.mktemp(f"checkpoint-{family}"), base, family, seed, **fields)

    return make


@pytest.fixture(scope="session")
def word_pieces() -> Tokenizer:
    """A WordPiece tokenizer of BERT's form with a few hundred tokens."""
    return build_word_pieces()


@pytest.fixture(scope="session")
def tiny_encoder_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> DirectoryFactory:
    """Writes a checkpoint of a random encoder, a new directory each time.

    ``tiny_encoder_checkpoint(seed=1, sizes=None, **fields of RMTConfig)``: see ``write_encoder_checkpoint``.
    """

    def make(seed: int = 1, sizes: dict[str, int] | None = None, **fields: Any) -> Path:
        return write_encoder_checkpoint(tmp_path_factory.mktemp("encoder"), seed, sizes, **fields)

    return make


@pytest.fixture(scope="session")
def smollm2_tokenizer() -> Tokenizer:
    """The real tokenizer of the backbone that `make backbone` pulls."""
    from rmt_model.backbone import load_tokenizer
    from rmt_model.errors import CheckpointError
    from rmt_model.pull import pull

    try:
        return load_tokenizer(pull("smollm2-135m-instruct"))
    except CheckpointError as error:
        pytest.skip(f"the real backbone is not on this machine: {error}")
