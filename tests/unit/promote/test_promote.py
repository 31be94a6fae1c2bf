"""From a decision to a champion, with real bundles, servers, ledger and MLflow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from pipeline.core.errors import BusyError, CorruptArtifactError, MissingInputError, PipelineError, from_os_error
from pipeline.core.run import Layout, Run
from pipeline.core.settings import Settings
from pipeline.model.bundle import GOLDEN, ITEMS
from pipeline.model.packed import read_json, write_json
from pipeline.promote import step
from pipeline.promote.move import alone
from pipeline.promote.publish import publish
from pipeline.promote.reconcile import reconcile
from pipeline.store.ledger import Ledger
from pipeline.store.tracking import Tracking
from tests.fixtures.nights import (
    assignments,
    bundle_of,
    crown,
    decide,
    kinds,
    make_night,
    note_registered,
    passed_gate,
    pointer,
    ready_night,
    resealed,
    with_section,
)


def test_a_passed_decision_makes_its_bundle_the_champion_and_only_once(settings: Settings, tiny_bundle: Path) -> None:
    run = make_night(settings, tiny_bundle, "2024-05-01")
    digest, tracking = bundle_of(run).digest, Tracking.connect(settings)
    night = tracking.night(run.run_id)
    version = tracking.register(f"runs:/{night.run_id}/model", night.run_id, {"digest": digest})
    tracking.set_alias("challenger", version)
    note_registered(run, version)
    decide(run, version)

    first, second = step.run(settings, run), step.run(settings, run)

    assert (first.verdict, second.verdict) == ("promoted", "promoted")
    (entry,) = Ledger.open(settings.store).verify()
    assert (entry.kind, entry.who, entry.to_digest, entry.run_id) == ("promotion", "schedule", digest, run.run_id)
    assert pointer(settings) == {"sequence": 1, "digest": digest, "version": version}
    assert tracking.aliases() == {"champion": version}
    assert tracking.version_tags(version)["ledger_sequence"] == "1"


# What the gate said, what promote reports, and what the ledger keeps of it.
HELD = {"fail": ("refused", ["refusal"]), "inconclusive": ("waiting", ["refusal"])}


@pytest.mark.parametrize("outcome", HELD)
def test_a_verdict_other_than_pass_is_recorded_once_and_the_champion_stays(
    settings: Settings, tiny_bundle: Path, outcome: str
) -> None:
    champion = crown(settings, tiny_bundle, "2024-05-01")
    run = ready_night(settings, tiny_bundle, "2024-05-02", outcome=outcome, champion=champion)
    verdict, recorded = HELD[outcome]
    assert [step.run(settings, run).verdict for _ in range(2)] == [verdict, verdict]
    assert kinds(settings) == ["promotion", *recorded]
    assert Ledger.open(settings.store).entries()[1].details["verdict"] == outcome
    assert Ledger.open(settings.store).champion() == champion


def test_by_hand_a_passed_decision_waits_and_nothing_is_written(settings: Settings, tiny_bundle: Path) -> None:
    careful = with_section(settings, "promote", approval="by_hand")
    run = ready_night(careful, tiny_bundle, "2024-05-01")
    report = step.run(careful, run)
    assert report.verdict == "waiting"
    assert f"python -m pipeline review --run {run.run_id}" in report.sentence
    assert (kinds(careful), pointer(careful)) == ([], None)


@pytest.mark.parametrize("mark", [{"dry_run": True}, {"backfill": True}])
def test_a_dry_run_or_backfill_moves_nothing(settings: Settings, tiny_bundle: Path, mark: dict) -> None:
    run = make_night(settings, tiny_bundle, "2024-05-01", **mark)
    decide(run)
    assert step.run(settings, run).verdict == "unchanged"
    assert not (settings.store.root / "ledger.sqlite").exists()
    assert pointer(settings) is None


def test_a_bundle_not_newer_than_the_champion_is_a_backfill(settings: Settings, tiny_bundle: Path) -> None:
    champion = crown(settings, tiny_bundle, "2024-05-02")
    run = ready_night(settings, tiny_bundle, "2024-05-01", champion=champion)
    with pytest.raises(PipelineError, match="is not after the champion's"):
        step.run(settings, run)
    assert kinds(settings) == ["promotion"]


def test_a_decision_against_another_champion_is_refused_and_asks_for_the_gate(
    settings: Settings, tiny_bundle: Path
) -> None:
    run = ready_night(settings, tiny_bundle, "2024-05-03")
    crown(settings, tiny_bundle, "2024-05-01")
    with pytest.raises(PipelineError, match=rf"judged against champion none.*pipeline gate --run {run.run_id}"):
        step.run(settings, run)
    assert kinds(settings) == ["promotion"]


def test_a_decision_on_the_same_bundle_under_another_entry_is_stale_too(settings: Settings, tiny_bundle: Path) -> None:
    champion, ledger = crown(settings, tiny_bundle, "2024-05-01"), Ledger.open(settings.store)
    run = ready_night(settings, tiny_bundle, "2024-05-03", champion=champion)
    ledger.append(kind="rollback", who="ann", expected_head=1, to_digest=champion.to_digest)
    with pytest.raises(PipelineError, match=r"\(entry 1\), and now stands .* \(entry 2\)"):
        step.run(settings, run)


def test_a_decision_on_another_bundle_than_was_optimized_is_refused(settings: Settings, tiny_bundle: Path) -> None:
    run = ready_night(settings, tiny_bundle, "2024-05-01", challenger={"version": "1", "digest": "f" * 64})
    with pytest.raises(CorruptArtifactError, match="expected ffffffffffff"):
        step.run(settings, run)
    assert kinds(settings) == []


def test_a_decision_on_another_version_than_is_registered_is_refused(settings: Settings, tiny_bundle: Path) -> None:
    run = ready_night(settings, tiny_bundle, "2024-05-01", version="2")
    note_registered(run, "1")
    with pytest.raises(PipelineError, match=r"judged version 2 .* registered is version 1"):
        step.run(settings, run)
    (run.folder / "register.json").unlink()
    with pytest.raises(MissingInputError, match="registered nothing yet"):
        step.run(settings, run)


def test_without_a_decision_promote_says_to_run_the_gate(settings: Settings, tiny_bundle: Path) -> None:
    run = make_night(settings, tiny_bundle, "2024-05-01")
    with pytest.raises(
        MissingInputError, match=f"has no decision yet; run `python -m pipeline gate --run {run.run_id}`"
    ):
        step.run(settings, run)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema_version": 2}'])
def test_a_torn_decision_promotes_nothing(settings: Settings, tiny_bundle: Path, text: str) -> None:
    run = ready_night(settings, tiny_bundle, "2024-05-01")
    (run.folder / "decision" / "decision.json").write_text(text)
    with pytest.raises(CorruptArtifactError, match="no decision record"):
        step.run(settings, run)


@pytest.mark.parametrize("change", [{"schema_version": 2}, {"outcome": "passed"}])
def test_a_decision_in_unknown_words_promotes_nothing(settings: Settings, tiny_bundle: Path, change: dict) -> None:
    run = ready_night(settings, tiny_bundle, "2024-05-01", **change)
    with pytest.raises(CorruptArtifactError, match="expected 1 and one of pass, fail, inconclusive"):
        step.run(settings, run)


def spoil_goldens(folder: Path) -> None:
    goldens = read_json(folder / GOLDEN)
    goldens[0]["answer"]["items"].reverse()
    write_json(folder / GOLDEN, goldens)


def test_a_bundle_that_answers_its_goldens_wrongly_never_reaches_the_ledger(
    settings: Settings, tiny_bundle: Path
) -> None:
    run = make_night(settings, tiny_bundle, "2024-05-01", change=spoil_goldens)
    note_registered(run, "1")
    decide(run)
    with pytest.raises(CorruptArtifactError, match="A fresh server ended with exit code 65 instead of serving"):
        step.run(settings, run)
    assert (kinds(settings), pointer(settings)) == ([], None)


def test_a_torn_copy_among_the_bundles_is_replaced_by_a_whole_one(settings: Settings, tiny_bundle: Path) -> None:
    layout, sealed = (
        Layout(settings.store.root.resolve()),
        resealed(tiny_bundle, settings.store.root / "b", "2024-05-01"),
    )
    publish(sealed.path, sealed.digest, layout)
    (layout.bundle(sealed.digest) / "items.npz.gz").write_text("{}")
    assert publish(sealed.path, sealed.digest, layout).file(ITEMS).read_bytes() == sealed.file(ITEMS).read_bytes()
    assert [p.name for p in layout.bundle("x").parent.iterdir()] == [sealed.digest]


def test_a_folder_of_bundles_that_cannot_be_written_is_one_sentence(settings: Settings, tiny_bundle: Path) -> None:
    run = ready_night(settings, tiny_bundle, "2024-05-01")
    # A folder of the kernel's own refuses new files to everybody, also to the superuser some machines test as.
    (settings.store.root / "bundles").symlink_to("/sys/kernel")
    with pytest.raises(OSError) as refusal:
        step.run(settings, run)
    assert str(settings.store.root / "bundles") in str(from_os_error(refusal.value))
    assert (kinds(settings), pointer(settings)) == ([], None)


def test_a_silent_mlflow_does_not_undo_a_promotion_and_reconcile_catches_it_up(
    settings: Settings, tiny_bundle: Path
) -> None:
    down = with_section(settings, "register", tracking_uri="http://127.0.0.1:9")
    entry = crown(down, tiny_bundle, "2024-05-01", version="1")
    projection = reconcile(down, Ledger.open(down.store))
    assert pointer(down)["sequence"] == entry.sequence
    assert "MLflow at http://127.0.0.1:9 does not answer" in projection.sentence
    assert "python -m pipeline reconcile" in projection.sentence

    tracking = Tracking.connect(settings)
    night = tracking.night("night")
    tracking.register(f"runs:/{night.run_id}/model", night.run_id, {})
    assert reconcile(settings, Ledger.open(settings.store)).mlflow_behind == ""
    assert tracking.aliases() == {"champion": "1"}


def test_aliases_follow_the_ledger_whatever_they_were(settings: Settings, tiny_bundle: Path) -> None:
    tracking = Tracking.connect(settings)
    night = tracking.night("night")
    for _ in range(3):
        tracking.register(f"runs:/{night.run_id}/model", night.run_id, {})
    crown(settings, tiny_bundle, "2024-05-01", version="1")
    crown(settings, tiny_bundle, "2024-05-02", version="2")
    for alias, version in (("champion", "3"), ("previous", "3"), ("challenger", "3")):
        tracking.set_alias(alias, version)
    reconcile(settings, Ledger.open(settings.store))
    # The challenger of a later night is not the champion, so it stays.
    assert tracking.aliases() == {"champion": "2", "previous": "1", "challenger": "3"}


def test_an_inserted_entry_that_was_not_projected_is_projected_by_reconcile(
    settings: Settings, tiny_bundle: Path
) -> None:
    crown(settings, tiny_bundle, "2024-05-01")
    reconcile(settings, Ledger.open(settings.store))
    second = crown(settings, tiny_bundle, "2024-05-02")
    assert pointer(settings)["sequence"] == 1
    reconcile(settings, Ledger.open(settings.store))
    assert pointer(settings) == {"sequence": 2, "digest": second.to_digest, "version": ""}


def test_a_published_bundle_without_an_entry_changes_nothing(settings: Settings, tiny_bundle: Path) -> None:
    champion, layout = crown(settings, tiny_bundle, "2024-05-01"), Layout(settings.store.root.resolve())
    reconcile(settings, Ledger.open(settings.store))
    sealed = resealed(tiny_bundle, settings.store.root / "next", "2024-05-02")
    publish(sealed.path, sealed.digest, layout)
    reconcile(settings, Ledger.open(settings.store))
    assert pointer(settings)["digest"] == champion.to_digest


def test_servers_are_never_pointed_to_a_bundle_that_is_not_whole(settings: Settings, tiny_bundle: Path) -> None:
    crown(settings, tiny_bundle, "2024-05-01")
    reconcile(settings, Ledger.open(settings.store))
    second = crown(settings, tiny_bundle, "2024-05-02")
    (Layout(settings.store.root.resolve()).bundle(second.to_digest) / "items.npz.gz").unlink()
    with pytest.raises(CorruptArtifactError, match=r"items\.npz\.gz: this file is missing"):
        reconcile(settings, Ledger.open(settings.store))
    assert pointer(settings)["sequence"] == 1


def test_a_ledger_that_lost_entries_servers_follow_is_refused(settings: Settings, tiny_bundle: Path) -> None:
    crown(settings, tiny_bundle, "2024-05-01")
    crown(settings, tiny_bundle, "2024-05-02")
    reconcile(settings, Ledger.open(settings.store))
    (settings.store.root / "ledger.sqlite").unlink()
    with pytest.raises(CorruptArtifactError, match="servers follow ledger entry 2, and the ledger ends at 0"):
        reconcile(settings, Ledger.open(settings.store))


def test_a_second_promotion_at_the_same_time_is_busy(settings: Settings, tiny_bundle: Path) -> None:
    run = ready_night(settings, tiny_bundle, "2024-05-01")
    with alone(settings), pytest.raises(BusyError, match="is already under way"):
        step.run(settings, run)
    assert kinds(settings) == []


def promote_in_a_process(settings: Settings, run: Run) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "pipeline", "promote", "--run", run.run_id, *assignments(settings)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "waited too long"
        time.sleep(0.02)


def processes_naming(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found += [words] if text in words and path.parent.name != str(os.getpid()) else []
    return found


def test_promote_killed_after_publishing_leaves_no_champion_no_server_and_can_be_run_again(
    settings: Settings, tiny_bundle: Path
) -> None:
    run = ready_night(settings, tiny_bundle, "2024-05-01")
    published = Layout(settings.store.root.resolve()).bundle(bundle_of(run).digest)
    process = promote_in_a_process(settings, run)
    wait_for(lambda: [p for p in processes_naming(str(published)) if "serve" in p])
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (kinds(settings), pointer(settings), published.exists()) == ([], None, True)
    wait_for(lambda: not processes_naming(str(published)))

    again = promote_in_a_process(settings, run)
    said, complaint = again.communicate(timeout=120)
    assert again.returncode == 0, complaint
    assert "is champion by ledger entry 1" in said
    assert pointer(settings)["sequence"] == 1


@pytest.fixture
def server(settings: Settings) -> Iterator[str]:
    """The real server, following the champion's pointer of these settings."""
    from pipeline.serve.server import Service

    service = Service(with_section(with_section(settings, "serve", port=0), "serve", poll_seconds=0.1, port=0))
    thread = threading.Thread(target=service.run, daemon=True)
    thread.start()
    base = f"http://127.0.0.1:{service.port}"
    wait_for(lambda: httpx.get(f"{base}/healthz").status_code == 200)
    yield base
    service.stop()
    thread.join(timeout=30)


def test_a_server_that_follows_confirms_the_promotion(settings: Settings, tiny_bundle: Path, server: str) -> None:
    confirmed = with_section(settings, "promote", servers=(server,), confirm_timeout_seconds=60)
    run = ready_night(confirmed, tiny_bundle, "2024-05-01")
    assert step.run(confirmed, run).verdict == "promoted"
    assert httpx.get(f"{server}/v1/model").json()["bundle_digest"] == bundle_of(run).digest
    assert kinds(confirmed) == ["promotion"]


def test_a_server_that_does_not_confirm_has_the_promotion_taken_back(
    settings: Settings, tiny_bundle: Path, server: str
) -> None:
    champion = crown(settings, tiny_bundle, "2024-05-01", version="1")
    reconcile(settings, Ledger.open(settings.store))
    deaf = with_section(settings, "promote", servers=(server, "http://127.0.0.1:9"), confirm_timeout_seconds=0.5)
    run = ready_night(deaf, tiny_bundle, "2024-05-02", version="2", champion=champion)

    report = step.run(deaf, run)

    assert report.verdict == "refused"
    assert "version 1 stands again: http://127.0.0.1:9 does not answer" in report.sentence
    assert kinds(deaf) == ["promotion", "promotion", "rolled_back"]
    # The first champion again, under a number higher than the one taken back: servers never go to a lower one.
    assert pointer(deaf) == {"sequence": 3, "digest": champion.to_digest, "version": "1"}
    wait_for(lambda: httpx.get(f"{server}/v1/model").json()["sequence"] == 3)
    with pytest.raises(PipelineError, match="judged against champion"):
        step.run(deaf, run)


def test_a_first_champion_taken_back_is_not_promoted_again_by_the_same_decision(
    settings: Settings, tiny_bundle: Path
) -> None:
    deaf = with_section(settings, "promote", servers=("http://127.0.0.1:9",), confirm_timeout_seconds=0.1)
    run = ready_night(deaf, tiny_bundle, "2024-05-01")
    assert "no champion stands" in step.run(deaf, run).sentence
    assert pointer(deaf) is None
    with pytest.raises(PipelineError, match="carried out once and taken back since"):
        step.run(deaf, run)


def test_a_promotion_cut_before_the_servers_were_asked_is_settled_by_the_next_attempt(
    settings: Settings, tiny_bundle: Path
) -> None:
    deaf = with_section(settings, "promote", servers=("http://127.0.0.1:9",), confirm_timeout_seconds=0.1)
    run, layout = ready_night(deaf, tiny_bundle, "2024-05-01"), Layout(deaf.store.root.resolve())
    bundle = bundle_of(run)
    publish(bundle.path, bundle.digest, layout)
    Ledger.open(deaf.store).append(
        kind="promotion", who="schedule", expected_head=0, to_digest=bundle.digest, run_id=run.run_id
    )
    assert step.run(deaf, run).verdict == "refused"
    assert kinds(deaf) == ["promotion", "rolled_back"]


def test_the_gates_figures_stay_in_the_ledger(settings: Settings, tiny_bundle: Path) -> None:
    run = ready_night(settings, tiny_bundle, "2024-05-01", outcome="fail", gates=[passed_gate(verdict="fail")])
    step.run(settings, run)
    (entry,) = Ledger.open(settings.store).entries()
    assert entry.details["gates"][0]["challenger"] == 0.25
    assert entry.reason == "The outcome is fail."
