"""The folder of one process for its indexes: gone with it, and removed by a later process if it was killed."""

import fcntl
import logging
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

__all__ = ["ProcessFolder", "default_folder"]

_log = logging.getLogger(__name__)
_PREFIX, _BEGUN_PREFIX, _LOCK = "process-", "begun-", "lock"
_BEGUN_S = 3600.0


def default_folder() -> Path:
    """Where indexes lie unless a setting says otherwise: under the system's folder for temporary files.

    Raises:
        OSError: It cannot be made, or is another user's.
    """
    folder = Path(tempfile.gettempdir()) / f"rmt-search-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():  # anybody can make folders there
        raise PermissionError(f"{folder} is not a folder of this user")
    return folder


class ProcessFolder:
    """A folder that no other process uses, with one folder for each index.

    A lock on a file in it says that its process lives; the system releases it however the process ends.

    Args:
        parent: The folder that processes share. What is made in it is for this user alone.

    Raises:
        OSError: It cannot be made, or not written.
    """

    def __init__(self, parent: Path) -> None:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(parent)
        begun = Path(tempfile.mkdtemp(prefix=_BEGUN_PREFIX, dir=parent))
        self._lock = os.open(begun / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = parent / begun.name.replace(_BEGUN_PREFIX, _PREFIX)
        begun.rename(self.path)  # from now on others look at its lock
        self._numbers = count()

    def new(self) -> Path:
        """A new, empty folder.

        Raises:
            OSError: It cannot be made.
        """
        folder = self.path / str(next(self._numbers))
        folder.mkdir(mode=0o700)
        return folder

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_stale(parent: Path) -> None:
    """Remove what processes left behind that are gone."""
    for folder in parent.iterdir():
        if folder.name.startswith(_PREFIX) and not _is_locked(folder / _LOCK):
            _log.info("removing the search indexes of a process that is gone: %s", folder)
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.name.startswith(_BEGUN_PREFIX):
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > _BEGUN_S:
                    shutil.rmtree(folder, ignore_errors=True)


def _is_locked(file: Path) -> bool:
    try:
        lock = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False
