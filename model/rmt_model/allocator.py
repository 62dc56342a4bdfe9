"""The C allocator, set for a process that reads segments: same sizes again and again."""

import ctypes

__all__ = ["keep_freed_memory"]

# Numbers and the largest threshold are those of glibc's malloc.h and malloc.c.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 256 << 20
_LARGEST_MMAP_THRESHOLD = 32 << 20


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed, up to 256 MiB, instead of giving it back to the kernel after every layer.

    With glibc's defaults a segment of 384 tokens costs ten thousand page faults, a tenth and more of the time. It is
    set for the whole process and best called before it starts threads. Returns whether the C library took it; one
    other than glibc does not have it.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    options = (
        (_M_ARENA_MAX, 1),
        (_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD),
        (_M_TRIM_THRESHOLD, _KEPT_BYTES),
    )
    taken = [set_option(option, value) == 1 for option, value in options]
    return all(taken)
