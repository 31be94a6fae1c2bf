"""What may befall a promotion, as data: when, how it comes about, and what somebody does about it."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.run import Run
from tests.fixtures.nights import with_section
from tests.unit.promote.shop import Ended, Shop, wait_for

Befall = Callable[[Shop, Run], Ended]


@dataclass(frozen=True)
class Fault:
    """Something that befalls a promotion.

    Attributes:
        what, when: for the table.
        befall: lets it happen, and carries out the promotion under it.
        mend: what somebody does about it before `reconcile`; nothing in most cases.
        again: what is tried once more after that.
        disk: it needs the small disk.
    """

    what: str
    when: str
    befall: Befall
    mend: Callable[[Shop], object] = lambda _: None
    again: Befall = lambda shop, run: shop.promote(run)
    disk: bool = False


def killed(*moment: Any) -> Befall:
    return lambda shop, run: shop.promote(run, moment=[*moment, 1][:3])


# The call or statement just before which, or right after which, the process gets SIGKILL. In the order they come.
KILLED: dict[str, tuple[Any, ...]] = {
    "before the ledger is read": ("sqlite3.connect", "ledger.sqlite"),
    "with the bundle half copied": ("shutil.copyfile", "/bundles/.", 4),
    "before the copy is switched in": ("os.rename", "/bundles/."),
    "before a fresh server starts on it": ("subprocess.Popen", "serve"),
    "while that server is asked": ("socket.connect", "127.0.0.1"),
    "with the entry inserted, not committed": ("sql", "INSERT INTO entries"),
    "with the entry committed, before the pointer is written": ("open", ".champion.json."),
    "with the pointer written, not switched in": ("os.rename", "champion.json"),
    "with the pointer switched in, `champion` not moved": ("sql", "FROM registered_models"),
    "with `champion` moved, `previous` not": ("sql", "UPDATE registered_model_aliases", 2),
    "with the servers' confirmation not noted": ("open", ".promotion.json."),
}


def killed_while_servers_are_asked(shop: Shop, run: Run) -> Ended:
    return shop.promote(run, moment=["socket.connect", str(shop.servers[1].port), 1])


def roll_back(shop: Shop, run: Run, moment: Sequence[Any] = ()) -> Ended:
    return shop.carry_out("rollback", "--by", "ann", "--reason", f"instead of {run.run_id}", moment=moment)


def killed_rolling_back(*moment: Any) -> Befall:
    return lambda shop, run: roll_back(shop, run, [*moment, 1])


ROLLING_BACK = ("before a fresh server starts on it", "with the entry committed, before the pointer is written")


def at_once(shop: Shop, run: Run) -> Ended:
    """The same run twice on one machine: the first is stopped before it has a fresh server, the second tries."""
    first = shop.promote(run, moment=["subprocess.Popen", "serve", 1], number=signal.SIGSTOP)
    second = shop.promote(run)
    return both(shop.resume(first), second)


def on_two_machines(shop: Shop, run: Run) -> Ended:
    """Two runs whose file locks do not see each other: the second is done while the first proves its bundle."""
    first = shop.promote(run, moment=["subprocess.Popen", "serve", 1], number=signal.SIGSTOP)
    (shop.root / "locks" / "champion.lock").unlink()
    second = shop.promote(shop.night())
    return both(shop.resume(first), second)


def both(first: Ended, second: Ended) -> Ended:
    return Ended(first.code or second.code, f"The first: {first.said} The second: {second.said}")


def ledger_locked(shop: Shop, run: Run) -> Ended:
    connection = sqlite3.connect(shop.root / "ledger.sqlite", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        return shop.promote(run)
    finally:
        connection.close()


def ledger_changed(shop: Shop, run: Run) -> Ended:
    shutil.copy(shop.root / "ledger.sqlite", shop.root / "backup.sqlite")
    with sqlite3.connect(shop.root / "ledger.sqlite") as connection:
        connection.execute("UPDATE entries SET who = 'mallory' WHERE sequence = 1")
    return shop.promote(run)


def ledger_restored(shop: Shop) -> None:
    shutil.move(shop.root / "backup.sqlite", shop.root / "ledger.sqlite")


def mlflow_down(shop: Shop, run: Run) -> Ended:
    silent = with_section(shop.settings, "register", tracking_uri="http://127.0.0.1:9")
    known, shop.settings = shop.settings, silent
    try:
        return shop.promote(run)
    finally:
        shop.settings = known


def servers_down(shop: Shop, run: Run) -> Ended:
    for server in shop.servers:
        server.send(signal.SIGKILL)
    return shop.promote(run, confirm_timeout_seconds=0.5)


def servers_back(shop: Shop) -> None:
    for server in shop.servers:
        server.start()


def one_hangs(shop: Shop, run: Run) -> Ended:
    shop.servers[0].send(signal.SIGSTOP)
    # It is asked first, and twice, for the five seconds a question may take: time enough for the other one to follow.
    return shop.promote(run, confirm_timeout_seconds=6)


def it_goes_on(shop: Shop) -> None:
    shop.servers[0].send(signal.SIGCONT)


def pointer_torn(shop: Shop, run: Run) -> Ended:
    shop.layout.pointer.write_text('{"sequence": ')
    return told_by_server(shop)


def pointer_set_back(shop: Shop, run: Run) -> Ended:
    previous = shop.ledger.previous()
    fields = {"sequence": previous.sequence, "digest": previous.to_digest, "version": previous.version}
    shop.layout.pointer.write_text(json.dumps(fields))
    return told_by_server(shop)


def told_by_server(shop: Shop) -> Ended:
    """Returns what both servers say once they have noticed."""
    wait_for(lambda: all((server.ready() or {}).get("problem") for server in shop.servers))
    return Ended(None, shop.servers[0].ready()["problem"])


def read_only(shop: Shop, run: Run) -> Ended:
    remount(shop, "ro")
    return shop.promote(run)


def writable(shop: Shop) -> None:
    remount(shop, "rw")


def remount(shop: Shop, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(shop.root.parent)], check=True)


def full_before(*moment: Any) -> Befall:
    """The disk fills up just before a call of the promotion."""

    def befall(shop: Shop, run: Run) -> Ended:
        stopped = shop.promote(run, moment=[*moment, 1], number=signal.SIGSTOP)
        fill(shop)
        return shop.resume(stopped)

    return befall


def ballast(shop: Shop) -> Path:
    return shop.root / "ballast"


def fill(shop: Shop) -> None:
    """Leaves no free page on the small disk."""
    with ballast(shop).open("wb") as file, suppress(OSError):
        while True:
            file.write(b"\0" * (1 << 16))
            file.flush()
    with ballast(shop).open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 512)


def emptied(shop: Shop) -> None:
    ballast(shop).unlink()


FAULTS: tuple[Fault, ...] = (
    *(Fault("killed (`SIGKILL`)", when, killed(*moment)) for when, moment in KILLED.items()),
    Fault("killed (`SIGKILL`)", "while the servers are asked", killed_while_servers_are_asked),
    *(
        Fault("rollback killed (`SIGKILL`)", when, killed_rolling_back(*KILLED[when]), again=roll_back)
        for when in ROLLING_BACK
    ),
    Fault("a second promotion of the run", "before a fresh server starts", at_once),
    Fault("another run's, from another machine", "before a fresh server starts", on_two_machines),
    Fault("ledger locked by another process", "throughout", ledger_locked),
    Fault("ledger changed by hand", "before; a backup is put back after", ledger_changed, ledger_restored),
    Fault("MLflow down", "throughout", mlflow_down),
    Fault("both servers down", "throughout", servers_down, servers_back),
    Fault("one of two servers hangs", "throughout", one_hangs, it_goes_on),
    Fault("pointer torn", "between promotions", pointer_torn),
    Fault("pointer set back to the champion before", "between promotions", pointer_set_back),
    Fault("store read-only", "throughout", read_only, writable, disk=True),
    Fault("disk full", "before the bundle is copied", full_before("shutil.copyfile", "/bundles/."), emptied, disk=True),
    Fault("disk full", "before a fresh server starts", full_before("subprocess.Popen", "serve"), emptied, disk=True),
    Fault("disk full", "before the pointer is written", full_before("open", ".champion.json."), emptied, disk=True),
)
