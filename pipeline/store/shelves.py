"""Where a kind of records lies: a folder, or a prefix of the shared store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

from pipeline.core.artifacts import write_beside
from pipeline.core.locks import in_turn
from pipeline.store.leases import Leases
from pipeline.store.objects import Address, Objects


class Shelf(Protocol):
    """One text a day."""

    def place(self, day: date) -> str:
        """Returns where a day's text lies, for people."""

    def days(self) -> list[date]:
        """Returns the days that have one, oldest first."""

    def read(self, day: date) -> tuple[bytes, str] | None:
        """Returns a day's text and the tag of its version."""

    def alone(self, day: date) -> Iterator[None]:
        """Context in which a text is read and written.

        Raises: BusyError: a lease held here was lost.
        """

    def write(self, day: date, text: str, tag: str | None) -> None:
        """Replaces the version read, or none, in one step.

        Raises: BusyError: another version is there.
        """

    def remove(self, day: date) -> None:
        """Takes a day's text away; none there is no error."""


@dataclass(frozen=True)
class Folder:
    """Files on this machine; whoever writes waits for whoever does."""

    path: Path

    def place(self, day: date) -> str:
        return str(self.path / f"{day}.json")

    def days(self) -> list[date]:
        return sorted(date.fromisoformat(path.stem) for path in self.path.glob("[0-9]*.json"))

    def read(self, day: date) -> tuple[bytes, str] | None:
        try:
            return (self.path / f"{day}.json").read_bytes(), ""
        except FileNotFoundError:
            return None

    @contextmanager
    def alone(self, day: date) -> Iterator[None]:
        with in_turn(self.path / f".{day}.lock"):
            yield

    def write(self, day: date, text: str, tag: str | None) -> None:
        write_beside(self.path / f"{day}.json", text)

    def remove(self, day: date) -> None:
        (self.path / f"{day}.json").unlink(missing_ok=True)


@dataclass(frozen=True)
class Prefix:
    """Objects every machine sees.

    Attributes:
        leases: keep writers apart, and hold back one who lost its lease.
        conditional: the endpoint replaces an object only where the version named stands, whatever becomes of a lease.
    """

    objects: Objects
    address: Address
    leases: Leases
    conditional: bool

    def place(self, day: date) -> str:
        return str(self._at(day))

    def days(self) -> list[date]:
        names = [found.address.key.rpartition("/")[2] for found in self.objects.list(self.address / "")]
        return sorted(date.fromisoformat(name.removesuffix(".json")) for name in names if name.endswith(".json"))

    def read(self, day: date) -> tuple[bytes, str] | None:
        return self.objects.read(self._at(day))

    @contextmanager
    def alone(self, day: date) -> Iterator[None]:
        with self.leases.locked(f"switch {self._at(day)}"[-200:]):
            yield

    def write(self, day: date, text: str, tag: str | None) -> None:
        if self.conditional:
            self.objects.replace(self._at(day), text.encode(), tag)
        else:
            self.objects.put(self._at(day), text.encode())

    def remove(self, day: date) -> None:
        self.objects.delete(self._at(day))

    def _at(self, day: date) -> Address:
        return self.address / f"{day}.json"
