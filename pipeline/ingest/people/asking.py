"""From how somebody is named in the logs to what they are called in the store; the id itself goes no further."""

from __future__ import annotations

import re
import sys

import pyarrow as pa

from pipeline.core.errors import UsageError
from pipeline.core.pseudonyms import PATTERN, pseudonyms
from pipeline.core.settings import Settings
from pipeline.ingest.people.forget import require_known_keys
from pipeline.ingest.profiles.profile import load_profile
from pipeline.ingest.reading.batches import cleaned


def pseudonyms_of(user: str, settings: Settings, pseudonym: bool = False) -> tuple[str, ...]:
    """Returns the person's pseudonym under each key.

    Args:
        user: the id as in the logs, cleaned as the profile cleans it; `-` reads it from standard input, so that it
            stays out of the shell's history and the list of processes.
        pseudonym: `user` is one already, and the only one.

    Raises:
        UsageError: nothing was given, or no pseudonym where one was promised.
        DataError: partitions exist whose key is not given.
    """
    raw = (sys.stdin.readline() if user == "-" else user).strip()
    if pseudonym:
        if not re.fullmatch(PATTERN, raw):
            raise UsageError("That is no pseudonym: 64 hex digits, a dot and the 8 digits of the key id were expected.")
        return (raw,)
    column = load_profile(settings.ingest.profile).events.columns.user_id
    if column is None:
        raise UsageError(f"The source profile {settings.ingest.profile} has no users, only sessions; nobody to forget.")
    known = cleaned(pa.array([raw], pa.string()), column)[0].as_py()
    if known is None:
        raise UsageError(
            "There is no id left to forget after the profile's cleaning; give the id as the logs write it."
        )
    require_known_keys(settings)
    return pseudonyms(known, settings.secrets)
