"""What serving on Ray refuses before there is any Ray; the rest is in tests/services/test_autoscaling.py."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from pipeline.core import settings as settings_module
from pipeline.core.errors import UsageError
from pipeline.serve import on_ray
from pipeline.serve.commands import replicas_settings

WITHOUT_RAY = (
    "import sys; sys.modules['ray'] = None; from pipeline.__main__ import main; "
    "sys.argv = ['nightshift', 'serve', '--replicas', '1..2', '--port', '0']; main()"
)


@pytest.mark.parametrize(("given", "least", "most"), [("1..4", 1, 4), ("2", 2, 2), ("3..3", 3, 3)])
def test_a_range_of_replicas_becomes_settings(given, least, most):
    found = settings_module.load(replicas_settings(given)).replicas
    assert (found.least, found.most) == (least, most)


@pytest.mark.parametrize("given", ["0", "0..2", "4..2", "..2", "x", "1..", "1...2", "-1..2", "1..2..3", "", "²"])
def test_what_is_no_range_is_one_sentence(given):
    with pytest.raises(UsageError, match=r"is no range of replicas; write LEAST\.\.MOST, such as 1\.\.4"):
        replicas_settings(given)


def test_without_ray_it_says_what_to_install():
    ended = subprocess.run([sys.executable, "-c", WITHOUT_RAY], capture_output=True, text=True, timeout=60)
    assert ended.returncode == UsageError.exit_code
    assert "pip install 'nightshift[replicas]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_bundle_by_hand_is_refused(tmp_path):
    words = ["-m", "pipeline", "serve", "--replicas", "1..2", "--bundle", str(tmp_path)]
    ended = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60)
    assert ended.returncode == UsageError.exit_code
    assert "Replicas follow the champion" in ended.stderr


def test_tls_is_refused(tmp_path):
    settings = settings_module.load([f"serve.tls_certificate={tmp_path}", f"serve.tls_key={tmp_path}"])
    with pytest.raises(UsageError, match="speak plain HTTP"):
        on_ray.serve(settings, [], None)


def test_an_address_others_reach_needs_a_token(tmp_path):
    settings = settings_module.load([f"store.root={tmp_path}", "serve.host=0.0.0.0", "serve.port=0"])
    with pytest.raises(UsageError, match="lets other machines ask and there is no token"):
        on_ray.serve(settings, [], None)


def test_as_many_replicas_are_wanted_as_their_load_is_worth():
    """Two at 0.9 of what they should be and one at 0.4 are worth 2.2 of them; Ray rounds that up."""
    told = SimpleNamespace(aggregated_metrics={"load": {"a": 0.9, "b": 0.9, "c": 0.4}})
    assert on_ray.replicas_wanted(told)[0] == pytest.approx(2.2)
    assert on_ray.replicas_wanted(SimpleNamespace(aggregated_metrics={}))[0] == 1
