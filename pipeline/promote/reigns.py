"""Who was champion when, by the ledger; servers follow within `serve.poll_seconds`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from pipeline.core.days import end_of_day, parse_day, start_of_day
from pipeline.core.errors import UsageError
from pipeline.store.ledger import Entry, stood

SHORTEST_MOMENT = len("2011-12-08T10")


@dataclass(frozen=True)
class Reign:
    """A stretch of time one champion stood.

    Attributes:
        begin, end: UTC; the end is no part of it.
        champion: the entry by which it stood; None where none did.
    """

    begin: datetime
    end: datetime
    champion: Entry | None


def champion_at(entries: Sequence[Entry], moment: datetime) -> Entry | None:
    """Returns the entry by which a champion stood at a moment; None where none did."""
    standing = stood([entry for entry in entries if datetime.fromisoformat(entry.at) <= moment])
    return standing[-1] if standing else None


def reigns(entries: Sequence[Entry], begin: datetime, end: datetime) -> list[Reign]:
    """Returns who stood from `begin` to `end`, oldest first, without gaps."""
    changes = [at for entry in entries if begin < (at := datetime.fromisoformat(entry.at)) < end]
    cuts, found = [begin, *changes, end], []
    for since, until in pairwise(cuts):
        champion = champion_at(entries, since)
        if found and found[-1].champion == champion:
            found[-1] = Reign(found[-1].begin, until, champion)
        else:
            found.append(Reign(since, until, champion))
    return found


def told(entries: Sequence[Entry], on: str, timezone: str, now: datetime) -> list[str]:
    """Returns who stood on a day, or at a moment, a line for each.

    Args: on: `YYYY-MM-DD`, a day of the shop's calendar, or an ISO moment, by the shop's clock where it names no zone.

    Raises: UsageError: it is neither, or has not come yet.
    """
    zone = ZoneInfo(timezone)
    if len(on) >= SHORTEST_MOMENT:
        moment = _moment(on, zone)
        _refuse_future(on, moment, now)
        return [f"At {_shown(moment, zone)}: {_named(champion_at(entries, moment))}."]
    day = parse_day(on)
    begin, end = start_of_day(day, timezone), end_of_day(day, timezone)
    _refuse_future(on, begin, now)
    return [
        f"From {_shown(reign.begin, zone)} to {_shown(reign.end, zone)}: {_named(reign.champion)}."
        for reign in reigns(entries, begin, min(end, now))
    ]


def _moment(text: str, zone: ZoneInfo) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is neither a day nor a moment; write 2011-12-08 or 2011-12-08T10:30.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def _refuse_future(text: str, begin: datetime, now: datetime) -> None:
    if begin > now:
        raise UsageError(f"{text} has not come yet; nobody knows who will be champion.")


def _shown(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"


def _named(champion: Entry | None) -> str:
    if champion is None:
        return "no champion stood"
    return f"version {champion.version or '-'}, bundle {champion.to_digest[:12]}, by ledger entry {champion.sequence}"
