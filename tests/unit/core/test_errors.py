from __future__ import annotations

import errno

import pytest

from pipeline.core import errors


@pytest.mark.parametrize(
    ("number", "word"), [(errno.ENOSPC, "no space"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")]
)
def test_a_disk_that_refuses_is_named_and_may_be_retried(number: int, word: str) -> None:
    error = errors.from_os_error(OSError(number, "x", "var/store"))
    assert error is not None
    assert error.retry_may_help
    assert str(error).startswith("var/store: ")
    assert word in str(error)


def test_of_a_copy_the_file_that_is_written_is_named() -> None:
    error = errors.from_os_error(OSError(errno.ENOSPC, "x", "here/read", None, "there/written"))
    assert str(error).startswith("there/written: no space")


def test_an_error_of_another_kind_is_left_alone() -> None:
    assert errors.from_os_error(OSError(errno.ENOENT, "x", "var/store")) is None


def test_every_error_of_the_family_has_an_exit_code_that_is_not_zero() -> None:
    family = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.PipelineError)]
    assert len(family) >= 8
    assert all(e.exit_code not in (0, 1, 2) for e in family)
    assert [e for e in family if e("x").retry_may_help] == [errors.UnavailableError, errors.BusyError]
