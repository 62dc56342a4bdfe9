"""LoRA adapters on a backbone, in PEFT's file format."""

import json
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from torch import Tensor, nn

from rmt_model.errors import CheckpointError
from rmt_model.weights import fill, read_weights, write_weights

__all__ = ["ADAPTER_FILES", "load_adapter", "save_adapter", "with_adapter"]

ADAPTER_FILES = _CONFIG, _WEIGHTS = ("adapter_config.json", "adapter_model.safetensors")


def with_adapter(backbone: nn.Module, config: LoraConfig) -> PeftModel:
    """Put a fresh adapter on a backbone, which is changed in place; an adapter's start changes no output."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT uses what transformers will drop
        warnings.filterwarnings("ignore", "fan_in_fan_out")  # PEFT sees by itself what GPT-2 needs
        return get_peft_model(backbone, config)


def load_adapter(backbone: nn.Module, directory: Path) -> PeftModel:
    """Put the adapter of a checkpoint directory on a backbone.

    Raises:
        CheckpointError: A file is missing or damaged, it is no LoRA adapter, or it does not fit the backbone.
    """
    path = directory / _CONFIG
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields.get("peft_type") != "LORA":
            raise CheckpointError(f"{path}: peft_type must be LORA, not {fields.get('peft_type')!r}")
        # How it was started is history by now; what Megatron needs would import a module that the file names.
        config = LoraConfig(**{**fields, "init_lora_weights": True, "megatron_config": None})
        model = with_adapter(backbone, config)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing") from error
    except (AttributeError, TypeError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} describes no adapter for this backbone: {error}") from error
    fill(_weights(model), read_weights(directory / _WEIGHTS), directory / _WEIGHTS)
    return model


def save_adapter(model: PeftModel, directory: Path, dtype: torch.dtype) -> None:
    """Write a model's adapter in PEFT's two files.

    Raises:
        CheckpointError: The files cannot be written.
    """
    try:
        model.peft_config["default"].save_pretrained(directory)
    except OSError as error:
        raise CheckpointError(f"{directory / _CONFIG} cannot be written: {error}") from error
    write_weights(directory / _WEIGHTS, _weights(model), dtype)


def _weights(model: PeftModel) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return weights
