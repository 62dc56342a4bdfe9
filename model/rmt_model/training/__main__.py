"""`python -m rmt_model.training RUN_DIR --books DIR`: train the bundled checkpoint; started again, it goes on.

Four stages: facts and question in one segment, then up to two short segments of memory between them, then one of
better memory, then every length mixed, with a rate that falls at the end. On two cores it takes about four hours.
"""

import argparse
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

import torch

from rmt_model.allocator import keep_freed_memory
from rmt_model.backbone import load_backbone, load_tokenizer
from rmt_model.checkpoint import save_checkpoint
from rmt_model.config import RMTConfig
from rmt_model.recurrent import RecurrentMemoryTransformer
from rmt_model.data.background import Background, read_texts, split_by_author
from rmt_model.training.samples import SampleBuilder
from rmt_model.training.trainer import Stage, Trainer, TrainerSettings
from rmt_model.data.words import Lexicon

BASE = "smollm2-135m-instruct"
# Of the thirty layers: the first three, and those in which the backbone looks back to what followed an earlier token
# (induction heads, found by their attention on repeated random tokens).
LAYERS = (0, 1, 2, 16, 17, 18, 22, 23)
# What opens what is the hardest: the answer comes first.
KINDS = ("person_place", "opens", "opens", "object_place")
SEGMENT_TOKENS = 384
# Short segments teach most in a second; the long ones between them keep what is learned from holding for those alone.
STAGES = (
    Stage(0, 0, (48, 96, 128), 2400, 500, focus_share=0.3, advance_at=0.90),
    Stage(2, 1, (32, 48, 64), 2400, 300, focus_share=0.7, advance_at=0.88, longest_share=0.7),
    Stage(1, 1, (48, 64, 96), 2400, 200, advance_at=0.96, longest_share=0.8),
    Stage(5, 2, (64, 64, 96, 128, 256, 256), 3200, 4000, focus_share=0.5, advance_at=1.1, longest_share=0.6),
)


def main() -> int:
    """Train to the end of the curriculum and write the checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m rmt_model.training", description=__doc__)
    parser.add_argument("run", type=Path, help="folder for the log, the resumable state and the checkpoint")
    parser.add_argument("--books", type=Path, required=True, help="folder of text files; held-out authors are left out")
    parser.add_argument("--seed", type=int, default=2304)
    parser.add_argument(
        "--bfloat16", action="store_true", help="matrix products in bfloat16: quicker where the processor has them"
    )
    options = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(options.seed)
    model, tokenizer = _untrained(), load_tokenizer(BASE)
    books, _ = split_by_author(options.books.glob("*.txt"))
    code = Path(sysconfig.get_path("stdlib")).glob("*.py")
    texts = read_texts(books, 24_000_000)
    background = Background.of(texts + read_texts(code, 4_000_000), tokenizer)
    builder = SampleBuilder(tokenizer, model.config, background, "train", KINDS, Lexicon.of(texts))
    settings = TrainerSettings(
        STAGES,
        seed=options.seed,
        learning_rate=2.2e-4,
        cell_learning_rate=9e-4,
        note_weight=1.0,
        bfloat16=options.bfloat16,
        final_decay_steps=450,
    )
    trainer = Trainer(model, builder, settings, options.run)
    for record in trainer.train():
        sys.stderr.write(
            f"step {record['step']} stage {record['stage']} {record['mode']} {record['segments']} x "
            f"{record['segment_tokens']} tokens: loss {record['loss']:.3f}, right {record['accuracy']:.2f}, "
            f"{record['seconds']:.1f} s\n"
        )
    kinds = ", ".join(sorted(set(KINDS)))
    provenance = {
        "data": f"planted facts ({kinds}) in {len(books)} books and the Python standard library",
        "seed": options.seed,
        "steps": trainer.progress.step,
    }
    model.config = replace(model.config, provenance=provenance)
    directory = save_checkpoint(options.run / "checkpoint", model, dtype=torch.float16)
    sys.stdout.write(f"{directory}\n")
    return 0


def _untrained() -> RecurrentMemoryTransformer:
    """The cut backbone with a fresh memory; token embeddings, and so the vocabulary projection, stay as they are."""
    backbone = load_backbone(BASE, layers=LAYERS)
    embeddings = backbone.get_input_embeddings().weight.requires_grad_(False)
    scale = float(embeddings.std())
    config = RMTConfig(BASE, layers=LAYERS, segment_tokens=SEGMENT_TOKENS, update="gated", memory_scale=scale)
    model = RecurrentMemoryTransformer(backbone, config)
    torch.nn.init.normal_(model.cell.initial, std=scale)
    return model


if __name__ == "__main__":
    sys.exit(main())
