"""The server the gate starts for itself."""

from __future__ import annotations

from pipeline.core import settings as settings_module
from pipeline.gate import trial
from pipeline.serve import tokens


def test_tokens_of_the_store_do_not_keep_the_gate_out(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_STORE__ROOT", str(tmp_path))
    monkeypatch.setenv("PIPELINE_SERVE__TOKEN_DIGESTS", f'["shop:read:{tokens.digest_of(b"secret")}"]')
    monkeypatch.setenv("PIPELINE_SERVE__HOST", "0.0.0.0")
    tokens.add(tmp_path / "serve" / "tokens.json", "till", "read")
    with trial.started(tiny_bundle, settings_module.load([]), tmp_path, "challenger") as found:
        status, _ = found.client.ask(trial.post("/v1/recommend", {"k": 3}))
    assert status == 200
