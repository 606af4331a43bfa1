"""What the system or tensorstore said becomes an error that tells the user what to do."""

from __future__ import annotations

import pytest

from livestain.errors import StoreCorruptError, StoreDeniedError, StoreError, StoreFullError
from livestain.store.failures import as_store_error

POSIX_FULL = "RESOURCE_EXHAUSTED: Error writing local file \"/x\": No space left on device [os_error_code='28']"
WINDOWS_FULL = (
    "UNKNOWN: Error writing local file \"D:/x\": There is not enough space on the disk. [os_error_code='112']"
)


@pytest.mark.parametrize(
    ("error", "kind", "advice"),
    [
        (OSError(28, "No space left on device"), StoreFullError, "free space"),
        (OSError("5120 requested and 2848 written"), StoreFullError, "free space"),
        (ValueError(POSIX_FULL), StoreFullError, "free space"),
        (ValueError(WINDOWS_FULL), StoreFullError, "free space"),
        (OSError(39, "Directory not empty"), StoreError, "not empty"),
        (PermissionError(13, "Permission denied"), StoreDeniedError, "permissions"),
        (OSError(30, "Read-only file system"), StoreDeniedError, "permissions"),
        (ValueError("PERMISSION_DENIED: Read-only file system [os_error_code='30']"), StoreDeniedError, "permissions"),
        (
            ValueError("FAILED_PRECONDITION: Invalid blosc-compressed data"),
            StoreCorruptError,
            "what lies on disk is damaged",
        ),
        (ValueError("DATA_LOSS: Digest mismatch"), StoreCorruptError, "what lies on disk is damaged"),
        (RuntimeError("INTERNAL: who knows"), StoreError, "who knows"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, Exception) else "",
)
def test_failures_are_told_apart(error: Exception, kind: type[StoreError], advice: str) -> None:
    found = as_store_error(error, "plane t1 could not be written")
    assert type(found) is kind
    assert str(found).startswith("plane t1 could not be written")
    assert advice in str(found)
    assert str(error) in str(found)
