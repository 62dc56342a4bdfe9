"""Weight files: read without running code, and applied strictly."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rmt_model.errors import CheckpointError

__all__ = ["fill", "listed", "own_weights", "read_pickle", "read_weights", "sha256_of", "write_weights"]

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def own_weights(module: nn.Module) -> dict[str, Tensor]:
    """A module's state dict, detached; a tensor with several names (tied weights) under its first only."""
    first_names: dict[int, str] = {}
    state = module.state_dict(keep_vars=True)
    for name, tensor in state.items():
        first_names.setdefault(id(tensor), name)
    return {name: state[name].detach() for name in first_names.values()}


def read_weights(path: Path, rename: Callable[[str], str | None] = str) -> dict[str, Tensor]:
    """Read a safetensors file into memory.

    Args:
        path: The file.
        rename: Gives a tensor's new name, or None for one that is not to be read.

    Raises:
        CheckpointError: It is missing, a pickle, damaged, or truncated.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
            # The length of a safetensors header may look like a pickle's start, but then its JSON follows.
            if start.startswith(_PICKLE_STARTS) and not start.endswith(b"{"):
                raise CheckpointError(f"{path} is a pickle, which can run code when it is loaded; use safetensors")
        with safe_open(path, framework="pt") as tensors:
            names = {name: rename(name) for name in tensors.keys()}  # noqa: SIM118 - it is no mapping
            # A copy: the tensor itself is a view of the file, and a crash if that is written to meanwhile.
            return {new: tensors.get_tensor(old).clone() for old, new in names.items() if new is not None}
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged, truncated, or not safetensors: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Read a state dict that `torch.save` wrote, tensors only: nothing in the file can run code.

    Raises:
        CheckpointError: It is missing, damaged, or holds anything but named tensors.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError(f"{path} is damaged, or holds more than tensors") from error
    except (OSError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError(f"{path} does not hold a plain state dict of named tensors")
    return dict(state)


def write_weights(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> None:
    """Write a safetensors file of floating-point tensors.

    Raises:
        CheckpointError: A value is not finite, or too large for `dtype`; or the file cannot be written.
    """
    stored = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in tensors.items()}
    if broken := [name for name, tensor in stored.items() if not torch.isfinite(tensor).all()]:
        raise CheckpointError(f"{path}: weights are not finite numbers in {dtype}: {listed(broken)}")
    try:
        save_file(stored, path, {"format": "pt"})
        path.chmod(0o644)  # safetensors lets its owner alone read it; a server may run as somebody else
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be written: {error}") from error


def fill(
    targets: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str | Path, *, partial: bool = False
) -> None:
    """Copy tensors into the targets of the same names.

    Args:
        targets: What to overwrite, in its own type and on its own device.
        tensors: What to write there.
        where: Where the tensors came from, for errors.
        partial: Whether some targets may stay as they are; a name without a target is always an error.

    Raises:
        CheckpointError: Names, shapes or types do not fit, or a value is not finite; nothing has changed.
    """
    if unknown := set(tensors) - set(targets):
        raise CheckpointError(f"{where} has tensors that the model lacks: {listed(unknown)}")
    if not partial and (missing := set(targets) - set(tensors)):
        raise CheckpointError(f"{where} lacks tensors that the model has: {listed(missing)}")
    for name, tensor in tensors.items():
        found, wanted = list(tensor.shape), list(targets[name].shape)
        if found != wanted:
            raise CheckpointError(f"{where}: {name} has shape {found}; this model needs {wanted}")
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{where}: {name} holds values that are not finite floating-point numbers")
    for name, tensor in tensors.items():
        targets[name].detach().copy_(tensor)


def listed(names: Collection[str], most: int = 6) -> str:
    """Names in order, for an error: the first few, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + more


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Raises:
        CheckpointError: The file is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
