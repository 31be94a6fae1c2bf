"""What somebody changed in MLflow or in the store behind the ledger's back is noticed, told, and set right."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.core.errors import UnavailableError
from pipeline.core.run import Layout
from pipeline.core.settings import Settings
from pipeline.promote import drift, step
from pipeline.promote.reconcile import reconcile
from pipeline.store.ledger import Ledger
from pipeline.store.tracking import Tracking
from tests.fixtures.nights import crown, kinds, ready_night
from tests.unit.promote.test_commands import type_in


class Shop:
    """Two promotions whose versions are registered and told to MLflow."""

    def __init__(self, settings: Settings, bundle: Path) -> None:
        self.settings, self.ledger, self.tracking = settings, Ledger.open(settings.store), Tracking.connect(settings)
        self.entries = []
        for number in (1, 2):
            version = self.registered(f"night-{number}")
            entry = crown(settings, bundle, f"2024-05-0{number}", version=version)
            self.tracking.tag_version(version, {"digest": entry.to_digest})
            self.entries.append(entry)
        reconcile(settings, self.ledger)

    def registered(self, run_id: str) -> str:
        night = self.tracking.night(run_id)
        return self.tracking.register(f"runs:/{night.run_id}/model", night.run_id, {})

    def found(self) -> list[str]:
        return [each.sentence for each in drift.check(self.settings, self.ledger)]


@pytest.fixture
def shop(settings: Settings, tiny_bundle: Path) -> Shop:
    return Shop(settings, tiny_bundle)


def test_a_registry_that_follows_the_ledger_has_no_drift_and_tells_its_place_in_the_chain(shop: Shop) -> None:
    assert shop.found() == []
    first, second = shop.entries
    tags = shop.tracking.version_tags(second.version)
    assert (tags["ledger_sequence"], tags["ledger_hash"]) == (str(second.sequence), second.hash)
    assert shop.tracking.aliases() == {"champion": second.version, "previous": first.version}
    assert "says what the ledger says" in type_in(shop.settings, "registry", "check").stdout


def test_an_alias_moved_by_hand_is_set_back_and_stays_in_the_ledger(shop: Shop) -> None:
    first, second = shop.entries
    shop.tracking.set_alias("champion", first.version)
    told = reconcile(shop.settings, shop.ledger).sentence
    assert f"moved in MLflow from version {second.version} to version {first.version}" in told
    assert shop.tracking.alias("champion") == second.version
    last = shop.ledger.verify()[-1]
    assert (last.kind, last.version, last.to_digest) == ("alias_moved", second.version, second.to_digest)
    assert shop.ledger.champion() == second and shop.ledger.previous() == first
    # Once set back there is nothing more to note.
    assert reconcile(shop.settings, shop.ledger).moved == ""
    assert shop.ledger.head() == last.sequence


def test_the_same_alias_moved_again_is_noted_again(shop: Shop) -> None:
    for _ in range(2):
        shop.tracking.set_alias("champion", shop.entries[0].version)
        reconcile(shop.settings, shop.ledger)
    assert kinds(shop.settings)[2:] == ["alias_moved", "alias_moved"]


def test_an_alias_that_could_not_be_set_back_is_noted_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: str) -> None:
        raise UnavailableError("MLflow takes no writes.")

    shop.tracking.set_alias("champion", shop.entries[0].version)
    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "set_alias", refuse)
        for _ in range(2):
            assert "takes no writes" in reconcile(shop.settings, shop.ledger).mlflow_behind
    assert "set back" in reconcile(shop.settings, shop.ledger).moved
    assert kinds(shop.settings)[2:] == ["alias_moved"]
    assert shop.tracking.alias("champion") == shop.entries[1].version


def test_an_alias_the_pipeline_set_before_it_was_killed_is_no_tampering(
    shop: Shop, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise UnavailableError("killed")

    third = crown(shop.settings, tiny_bundle, "2024-05-03", version=shop.registered("night-3"))
    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "drop_alias", killed)
        patch.setattr(Tracking, "tag_version", killed)
        patch.setattr("pipeline.promote.reconcile.SET_TAG", "lost")
        reconcile(shop.settings, shop.ledger)
    assert shop.tracking.alias("champion") == third.version
    crown(shop.settings, tiny_bundle, "2024-05-04", version=shop.registered("night-4"))
    assert reconcile(shop.settings, shop.ledger).moved == ""
    assert "alias_moved" not in kinds(shop.settings)


def test_an_outcome_changed_in_mlflow_is_told_and_mended(shop: Shop) -> None:
    shop.tracking.tag_version(shop.entries[0].version, {"outcome": "refused"})
    assert any("is tagged refused, and was" in told for told in shop.found())
    drift.repair(shop.settings, shop.ledger, drift.check(shop.settings, shop.ledger))
    assert shop.found() == []


def test_a_night_that_is_refused_notices_it_too(shop: Shop, tiny_bundle: Path) -> None:
    first, second = shop.entries
    shop.tracking.set_alias("champion", first.version)
    run = ready_night(shop.settings, tiny_bundle, "2024-05-03", outcome="fail", champion=second)
    report = step.run(shop.settings, run)
    assert report.verdict == "refused"
    assert report.sentence.endswith(f"it was set back to version {second.version}.")
    assert shop.tracking.alias("champion") == second.version
    assert kinds(shop.settings) == ["promotion", "promotion", "refusal", "alias_moved"]


def test_an_alias_taken_away_by_hand_is_noticed_too(shop: Shop) -> None:
    shop.tracking.drop_alias("champion")
    assert "away, which no server follows" in reconcile(shop.settings, shop.ledger).sentence
    assert shop.tracking.alias("champion") == shop.entries[1].version


def test_an_alias_that_only_lags_behind_is_no_tampering(shop: Shop, tiny_bundle: Path) -> None:
    # As after a promotion during which MLflow was down: the alias is still where it was set last.
    night = shop.tracking.night("night-3")
    version = shop.tracking.register(f"runs:/{night.run_id}/model", night.run_id, {})
    entry = crown(shop.settings, tiny_bundle, "2024-05-03", version=version)
    assert shop.found()[0].startswith(f"The alias champion names version {shop.entries[1].version}")
    assert reconcile(shop.settings, shop.ledger).moved == ""
    assert shop.ledger.head() == entry.sequence
    assert shop.tracking.alias("champion") == version


def test_what_differs_is_told_by_the_command_and_mended_on_request(shop: Shop) -> None:
    first, second = shop.entries
    shop.tracking.set_alias("previous", second.version)
    shop.tracking.tag_version(first.version, {"digest": "f" * 64})
    for name in ("ledger_sequence", "ledger_hash"):
        shop.tracking._client.delete_model_version_tag(shop.tracking.model_name, second.version, name)
    ended = type_in(shop.settings, "registry", "check")
    assert ended.returncode == 65
    assert ended.stdout.splitlines() == [
        f"The alias previous names version {second.version}, and the ledger version {first.version}.",
        f"Version {first.version}, last named by ledger entry {first.sequence}, is tagged with bundle {'f' * 12}, "
        f"and the ledger has {first.to_digest[:12]}.",
        f"Version {second.version}, last named by ledger entry {second.sequence}, does not show its place in the chain "
        "by ledger_sequence and ledger_hash.",
    ]
    mended = type_in(shop.settings, "registry", "check", "--repair")
    assert mended.returncode == 0, mended.stdout
    assert [line.startswith("mended: ") for line in mended.stdout.splitlines()] == [True, True, True, False]
    assert shop.found() == []
    assert shop.tracking.version_tags(first.version)["digest"] == first.to_digest


def test_no_champion_and_then_one_is_no_tampering(shop: Shop, tiny_bundle: Path) -> None:
    # Both were taken back, so the ledger itself took the alias away.
    shop.ledger.append(kind="rolled_back", who="promote", expected_head=shop.ledger.head())
    assert reconcile(shop.settings, shop.ledger).moved == ""
    assert shop.tracking.aliases() == {}
    night = shop.tracking.night("night-3")
    version = shop.tracking.register(f"runs:/{night.run_id}/model", night.run_id, {})
    crown(shop.settings, tiny_bundle, "2024-05-03", version=version)
    assert reconcile(shop.settings, shop.ledger).moved == ""
    assert shop.tracking.aliases() == {"champion": version}


def test_a_refused_version_shows_its_place_in_the_chain(shop: Shop) -> None:
    night = shop.tracking.night("night-3")
    version = shop.tracking.register(f"runs:/{night.run_id}/model", night.run_id, {"digest": "e" * 64})
    refusal = shop.ledger.append(
        kind="refusal", who="gate", expected_head=shop.ledger.head(), to_digest="e" * 64, version=version
    )
    reconcile(shop.settings, shop.ledger)
    tags = shop.tracking.version_tags(version)
    assert (tags["ledger_sequence"], tags["ledger_hash"]) == (str(refusal.sequence), refusal.hash)
    assert shop.found() == []


def test_a_version_nobody_can_bind_a_review_to_is_told(shop: Shop) -> None:
    night = shop.tracking.night("night-3")
    version = shop.tracking.register(f"runs:/{night.run_id}/model", night.run_id, {})
    (told,) = shop.found()
    assert told.startswith(f"Version {version} has no tag digest, and the ledger does not name it")


def test_what_cannot_be_mended_stays_told(shop: Shop) -> None:
    first, second = shop.entries
    shop.tracking.drop_alias("previous")
    shop.tracking._client.delete_model_version(shop.tracking.model_name, first.version)
    shutil.rmtree(Layout(shop.settings.store.root.resolve()).bundle(first.to_digest))
    told = "\n".join(shop.found())
    assert f"Version {first.version}, champion by ledger entry {first.sequence}, is not registered any more" in told
    assert f"The bundle of the previous (entry {first.sequence}) cannot be read" in told
    assert shop.ledger.champion() == second
