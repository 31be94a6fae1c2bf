"""Settings come from four places in a known order, and a mistake is named with its nearest right name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core import settings as settings_module
from pipeline.core.errors import MissingSecretError, SettingsError


def test_set_beats_environment_beats_file_beats_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.yaml").write_text("train: {epochs: 11, dim: 12, batch_size: 13}\n")
    monkeypatch.setenv("PIPELINE_TRAIN__EPOCHS", "21")
    monkeypatch.setenv("PIPELINE_TRAIN__DIM", "22")
    train = settings_module.load(["train.epochs=31"]).train
    default = settings_module.Train()
    assert (train.epochs, train.dim, train.batch_size, train.seed) == (31, 22, 13, default.seed)


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("trian.epochs=3", r"no setting trian; did you mean train\?$"),
        ("train.epocs=3", r"no setting train.epocs; did you mean epochs\?$"),
        ("shop.timezone=Europe/Londom", "shop.timezone is .* is no time zone; did you mean Europe/London"),
        ("shop.timezone=", r"shop.timezone is None; input should be a valid string"),
        ("train.epochs=many", "train.epochs is 'many'; input should be a valid integer"),
        ("ingest.max_late_days=1000000", "max_late_days is 1000000; input should be less than or equal to 36500"),
        ("train.epochs=-1", "train.epochs is -1; input should be greater than or equal to 0"),
        ("train.epochs", "section.field=value"),
        ("epochs=3", "section.field=value"),
        ("optimize.recipes=[]", "optimize.recipes"),
        ("train.epochs=[", "--set 'train.epochs=\\['"),
    ],
)
def test_a_wrong_setting_is_one_sentence(assignment: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        settings_module.load([assignment])


def test_an_unknown_section_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_TRIAN__EPOCHS", "3")
    with pytest.raises(SettingsError, match="PIPELINE_TRIAN__EPOCHS names no section; did you mean train"):
        settings_module.load()


def test_a_broken_settings_file_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.yaml").write_text("train: {epochs: [")
    with pytest.raises(SettingsError, match=r"pipeline\.yaml is not YAML"):
        settings_module.load()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"- train\n- gate\n", "must hold sections by name"),
        (b"train", "must hold sections by name"),
        (b"0", "must hold sections by name"),
        (b"train: {epochs: 3}\n3: {epochs: 3}\n", "must hold sections by name"),
        ("shop: {name: Bürobedarf}".encode("latin-1"), r"is not UTF-8 \(invalid .* at byte 14\); save it as UTF-8"),
        (b"train: 3", "The setting train is 3; input should be"),
        (b"train: {3: 4}", "The setting train.3"),
    ],
)
def test_a_settings_file_of_another_shape_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.yaml").write_bytes(content)
    with pytest.raises(SettingsError, match=sentence):
        settings_module.load()


def test_an_empty_settings_file_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.yaml").write_text("# nothing yet\n")
    assert settings_module.load() == settings_module.Settings()


def test_masked_settings_do_not_hold_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SECRETS__PSEUDONYM_KEY", "sesame")
    settings = settings_module.load()
    assert "sesame" not in str(settings.masked()) + repr(settings)
    assert settings.secrets.require("pseudonym_key") == "sesame"


def test_masked_settings_show_an_address_without_its_password() -> None:
    wanted = ["store.ledger_url=postgresql://ann:sesame@db/ledger", "engine.spark_options={my.secret.key: sesame}"]
    masked = settings_module.load(wanted).masked()
    assert masked["store"]["ledger_url"] == "postgresql://ann:***@db/ledger"
    assert "sesame" not in str(masked)


def test_a_refused_setting_is_told_without_its_password() -> None:
    with pytest.raises(SettingsError, match=r"'postgresql://ann:\*\*\*@db/x'"):
        settings_module.load(["store.lease_seconds=postgresql://ann:sesame@db/x"])


def test_a_missing_secret_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINE_SECRETS__PSEUDONYM_KEY", raising=False)
    with pytest.raises(MissingSecretError, match="PIPELINE_SECRETS__PSEUDONYM_KEY is not set"):
        settings_module.load().secrets.require("pseudonym_key")


def test_settings_that_cannot_change_the_outcome_are_left_out_of_the_key() -> None:
    keyed = settings_module.load(["store.root=/elsewhere", "train.checkpoint_seconds=1"]).keyed("store", "train")
    assert keyed["store"] == {}
    assert "checkpoint_seconds" not in keyed["train"]
    assert keyed["train"]["epochs"] == settings_module.Train().epochs


def test_a_secret_of_the_wrong_form_is_refused_without_being_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SECRETS__PREVIOUS_PSEUDONYM_KEYS", "hush-hush")
    with pytest.raises(SettingsError, match=r"\"secrets\".*written as JSON") as refused:
        settings_module.load()
    monkeypatch.delenv("PIPELINE_SECRETS__PREVIOUS_PSEUDONYM_KEYS")
    with pytest.raises(SettingsError, match=r"secrets\.previous_pseudonym_keys is not shown") as wrong:
        settings_module.load(["secrets.previous_pseudonym_keys=hush-hush"])
    assert "hush" not in f"{refused.value} {wrong.value}"


def test_previous_pseudonym_keys_are_a_json_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SECRETS__PREVIOUS_PSEUDONYM_KEYS", '["first", "second"]')
    secrets = settings_module.load().secrets
    assert [key.get_secret_value() for key in secrets.previous_pseudonym_keys] == ["first", "second"]
    assert "first" not in repr(secrets)
