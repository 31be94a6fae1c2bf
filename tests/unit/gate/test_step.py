"""The whole step on real bundles and real servers."""

from __future__ import annotations

from pipeline.gate.step import run


def test_a_first_model_that_beats_popularity_passes_and_is_called_the_first(shop, bundles):
    shop.challenge(bundles["right"])
    report = run(shop.settings, shop.run)
    assert report.verdict == "pass"
    assert "first model" in report.sentence
    assert shop.decision()["champion"] is None
    assert shop.gate("beats popularity")["low"] > 0


def test_scratch_page(shop, bundles):
    import shutil

    shop.crown(bundles["old"])
    for b in ("right", "wrong"):
        shop.challenge(bundles[b])
        print(run(shop.settings, shop.run))
        shutil.copytree(shop.run.folder / "decision", f"/tmp/gate/page_{b}", dirs_exist_ok=True)
