"""What an error of the operating system or of tensorstore means for the user: full, denied, corrupt or other."""

from __future__ import annotations

import errno
import re

from livestain.errors import StoreCorruptError, StoreDeniedError, StoreError, StoreFullError

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
# tensorstore passes on what GetLastError said on Windows: 39 and 112 are a full disk there.
_FULL_IN_TEXT = _FULL | {39, 112}
_CODE = re.compile(r"os_error_code='(\d+)'")
_ADVICE = {
    StoreFullError: "the disk is full: free space on it",
    StoreDeniedError: "writing there is not allowed: check permissions and whether the disk is read-only",
    StoreCorruptError: "what lies on disk is damaged",
}

TENSORSTORE_ERRORS = (ValueError, RuntimeError, IndexError, OSError)
"""What tensorstore raises for any failed read or write (its own status is only in the text)."""


def as_store_error(error: Exception, what: str) -> StoreError:
    """Return the error of the store family that tells the user what ``error`` means.

    Parameters
    ----------
    error
        An ``OSError``, or one of `TENSORSTORE_ERRORS`, which only their text tells apart.
    what
        What was tried, such as ``"plane t3 c0 z0 of /data/run/raw/p000.ome.zarr could not be written"``.
    """
    kind = _kind_of_os_error(error) if isinstance(error, OSError) else _kind_of_text(str(error))
    advice = f" ({_ADVICE[kind]})" if kind in _ADVICE else ""
    return kind(f"{what}{advice}: {error}")


def _kind_of_os_error(error: OSError) -> type[StoreError]:
    # numpy's tofile has no number for a write that was cut short: "5120 requested and 2848 written".
    if error.errno in _FULL or "requested and" in str(error):
        return StoreFullError
    return StoreDeniedError if error.errno in _DENIED else StoreError


def _kind_of_text(text: str) -> type[StoreError]:
    found = _CODE.search(text)
    code = int(found.group(1)) if found else 0
    if text.startswith("PERMISSION_DENIED"):
        return StoreDeniedError
    if "No space left" in text or code in _FULL_IN_TEXT:
        return StoreFullError
    if text.startswith(("DATA_LOSS", "FAILED_PRECONDITION")):
        return StoreCorruptError
    return StoreError
