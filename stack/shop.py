"""Whose logs a night takes, which days, and where it keeps its state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pipeline.core.days import Days, parse_day
from pipeline.core.errors import MissingInputError, UsageError
from pipeline.core.run import Layout
from stack.places import CODE, Places, read_state

GENERATED = "generated"
# The generated shop's first night; every later one takes the day after.
HISTORY = Days.parse("2026-01-01..2026-01-30")


@dataclass(frozen=True)
class Shop:
    """One source of logs and the folder of its state.

    Attributes:
        is_generated: the logs are made by `python -m pipeline simulate`.
    """

    root: Path
    source: str
    profile: str

    @property
    def is_generated(self) -> bool:
        return self.profile == GENERATED and self.source == str(self.root / "source")

    @property
    def named(self) -> dict[str, str]:
        return {"source": self.source, "profile": self.profile}


def shop_of(source: str | None, profile: str | None, root: Path | None) -> Shop:
    """Returns the shop these make variables name.

    Logs of one's own get a root of their own, `var/shops/PROFILE`: two shops in one store would be judged against each
    other.

    Raises: MissingInputError: the source is no folder. UsageError: a profile without a source.
    """
    if profile and not source and profile != GENERATED and root is None:
        raise UsageError(f"PROFILE={profile} without SOURCE: say where its logs lie, as SOURCE=<folder>.")
    if source and "://" not in source:
        folder = Path(source).expanduser().resolve()
        if not folder.is_dir():
            raise MissingInputError(
                f"SOURCE={source}: there is no such folder; give the folder that holds the raw logs."
            )
        source = str(folder)
    default = CODE / "var"
    own = default / "shops" / Path(profile or GENERATED).stem if source else default
    root = (root or own).resolve()
    known = read_state(Places(root)).get("shop", {})
    source = source or known.get("source") or str(root / "source")
    return Shop(root, source, profile or known.get("profile") or GENERATED)


def days_of(shop: Shop, asked: str | None) -> Days:
    """Returns the days asked for, else the day after the last published one, else the generated shop's history.

    Raises: UsageError: nothing was asked for nor published, and the logs are one's own.
    """
    if asked:
        return Days.parse(asked)
    published = sorted(Layout(shop.root).published_folder.glob("????-??-??.json"))
    if published:
        following = parse_day(published[-1].stem) + timedelta(days=1)
        return Days(following, following)
    if shop.is_generated:
        return HISTORY
    raise UsageError(
        f"No day of {shop.source} is published yet, so DAYS must say which to begin with: DAYS=FIRST..LAST."
    )
