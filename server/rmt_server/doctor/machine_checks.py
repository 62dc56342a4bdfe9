"""What this machine must have: a redis-server where none is given, room for its files, a device, the checkpoint."""

import os
import shutil
import time
from pathlib import Path

from rmt_model.errors import RmtModelError
from rmt_server.doctor.findings import Finding
from rmt_server.errors import StartupError
from rmt_server.redis_process.server import find_redis_server, redis_server_version
from rmt_server.settings import Settings

__all__ = ["check_device", "check_embedded_redis", "load_fingerprint"]

_GIB = 1 << 30
_LITTLE_SPACE_BYTES, _NO_SPACE_BYTES = 2 * _GIB, _GIB // 8


def check_embedded_redis(data_dir: Path) -> list[Finding]:
    """The redis-server that a start without RMT_REDIS_URL would run, and where it would keep its files."""
    try:
        binary = find_redis_server()
        version = ".".join(map(str, redis_server_version(binary)))
        found = Finding("redis server", "ok", f"RMT_REDIS_URL is empty, so {binary} {version} would be started")
    except StartupError as error:
        found = Finding("redis server", "problem", "RMT_REDIS_URL is empty, and there is none to start", error.detail)
    return [found, _check_directory(data_dir)]


def _check_directory(data_dir: Path) -> Finding:
    """Whether files could be written there; a directory that is not there yet would be made in the next above."""
    check, nearest = "data directory", data_dir.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        mend = "Give this user the right to write there, or choose another RMT_DATA_DIR"
        return Finding(check, "problem", f"{nearest} is not a directory that can be written to", mend)
    free_bytes = shutil.disk_usage(nearest).free
    found = f"{data_dir} can be written to, and has {free_bytes / _GIB:.1f} GiB free"
    if free_bytes < _LITTLE_SPACE_BYTES:
        mend = "Make room: with a full disk Redis takes no changes"
        return Finding(check, "problem" if free_bytes < _NO_SPACE_BYTES else "warning", found, mend)
    return Finding(check, "ok", found)


def check_device(settings: Settings) -> Finding:
    """The device, the type of weights, and the threads."""
    import torch

    from rmt_model.devices import pick_device, pick_dtype

    try:
        device = pick_device(settings.device)
    except RmtModelError as error:
        return Finding("device", "problem", f"{error}", "Set RMT_DEVICE=auto, or install a PyTorch built for CUDA")
    dtype = str(pick_dtype(settings.dtype, device)).removeprefix("torch.")
    if device.type == "cuda":
        return Finding("device", "ok", f"{torch.cuda.get_device_name(device)}, {dtype}")
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = settings.threads or torch.get_num_threads()
    found = f"the CPU, {dtype}, {threads} threads on {processors} processors"
    if threads > processors:
        mend = f"Threads without a processor hold the others up: set RMT_THREADS={processors}"
        return Finding("device", "warning", found, mend)
    return Finding("device", "ok", found)


def load_fingerprint(settings: Settings) -> tuple[Finding, str | None]:
    """Load the checkpoint as a server would; its fingerprint names what its sessions belong to."""
    from rmt_model.engines import load_any_checkpoint

    started_s = time.monotonic()
    try:
        checkpoint = load_any_checkpoint(settings.checkpoint, device=settings.device, dtype=settings.dtype)
    except (RmtModelError, RuntimeError, MemoryError) as error:  # PyTorch says with a RuntimeError that memory is short
        first_line = str(error).partition("\n")[0]
        mend = "See RMT_CHECKPOINT and RMT_DEVICE; a bundled checkpoint's backbone is fetched by `rmt-model pull`"
        return Finding("checkpoint", "problem", f"{settings.checkpoint}: {first_line}", mend), None
    found = f"{checkpoint.name} loads in {time.monotonic() - started_s:.1f} s: {checkpoint.fingerprint}"
    return Finding("checkpoint", "ok", found), checkpoint.fingerprint
