"""Names, missing scores and what importing costs."""

import subprocess
import sys

import pytest

from evalkit.errors import UnknownNameError
from evalkit.metrics import Score, extractor_names, get_extractor, get_metric, metric_names, register_metric
from evalkit.metrics.weights import WeightsError

NEED_OFFICIAL_WEIGHTS = {
    "fid_clean",
    "fid_tf",
    "fvd_cd",
    "sync_c_reference",
    "sync_d_reference",
    "dino_s_full",
}


def test_all_metrics_are_listed_and_describe_themselves() -> None:
    names = metric_names()
    assert names[:7] == ["ase", "iqa", "sync_c", "sync_d", "sync_offset", "sync_offset_ms", "dino_s"]
    assert {"fid", "kid", "fvd", "motion", "jerk", "flicker", "identity_drift", "colour_drift"} <= set(names)
    for name in names:
        metric = get_metric(name)
        assert metric.name == name
        assert metric.title
        assert metric.direction in ("up", "down", "zero", "none")
        if name in NEED_OFFICIAL_WEIGHTS:
            with pytest.raises(WeightsError, match="evalkit weights get"):
                _ = metric.backbone
        elif metric.extractors == ("pixels",):
            assert metric.backbone.kind == "none"
        else:
            assert metric.backbone.kind == "nano"
            assert len(metric.backbone.digest) == 64
            assert metric.backbone.protocol


def test_metrics_that_share_features_share_one_extractor() -> None:
    assert extractor_names(["sync_c", "sync_d", "sync_offset", "dino_s"]) == ["syncnet", "image"]
    assert get_extractor("syncnet") is get_extractor("syncnet")


def test_a_mistyped_name_gets_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match="sync_c"):
        get_metric("sink_c")


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(ValueError, match="already"):
        register_metric("sync_c", "somewhere:Else")


def test_a_score_is_a_number_or_a_reason() -> None:
    assert Score.missing("too_short", frames=3).details == {"frames": 3}
    for arguments in ((None, None), (1.0, "too_short"), (float("nan"), None)):
        with pytest.raises(ValueError, match="number"):
            Score(*arguments)


def test_importing_loads_neither_torch_nor_the_decoder() -> None:
    code = "import sys, evalkit.metrics as m; m.metric_names(); print([n for n in ('torch', 'av') if n in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
