"""One family of errors; each is one sentence for a person and one exit code for an orchestrator."""

from __future__ import annotations

import errno

RETRY_MAY_HELP = 75


class PipelineError(Exception):
    """A refusal. Its text says what was found, where, what was expected and what to do."""

    exit_code = 65

    @property
    def retry_may_help(self) -> bool:
        return self.exit_code == RETRY_MAY_HELP


class UsageError(PipelineError):
    """The command, run id, day or path given makes no sense."""

    exit_code = 64


class SettingsError(UsageError):
    """A setting is misspelt, of the wrong type or out of range."""


class MissingSecretError(PipelineError):
    """A secret the step needs is in neither environment nor file."""

    exit_code = 78


class DataError(PipelineError):
    """The data is not what its profile or suite promises."""


class MissingInputError(PipelineError):
    """A file, partition or earlier step's artifact is not there."""

    exit_code = 66


class CorruptArtifactError(PipelineError):
    """An artifact's bytes are not those its manifest sealed."""


class ShapeError(PipelineError):
    """Arrays that must fit each other do not."""


class UnavailableError(PipelineError):
    """A disk, server or database does not answer now and may answer later."""

    exit_code = RETRY_MAY_HELP


class BusyError(UnavailableError):
    """Another process holds what this one needs."""


_DISK = {
    errno.ENOSPC: "no space is left on the device; free some and run the step again",
    errno.EDQUOT: "the disk quota is used up; free some and run the step again",
    errno.EROFS: "the file system is read-only; make it writable and run the step again",
    errno.EACCES: "permission is denied; give this user access and run the step again",
    errno.EPERM: "permission is denied; give this user access and run the step again",
}


def from_os_error(error: OSError) -> UnavailableError | None:
    """Returns the sentence for a disk that refuses, or None when the error is of another kind."""
    remedy = _DISK.get(error.errno or 0)
    if remedy is None:
        return None
    # Of two files, as in a copy, the second is the one that is written.
    return UnavailableError(f"{error.filename2 or error.filename or 'the disk'}: {remedy}.")
