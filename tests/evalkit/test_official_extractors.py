"""The whole official path: files in the official layout, loader, video, features, score."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from evalkit.metric_setup import NANO, MetricSetup
from evalkit.metrics import extract, get_metric
from evalkit.metrics.backbones import backbone_of, kind_of
from evalkit.metrics.base import Backbone, Clip
from evalkit.metrics.detectors import Detector
from evalkit.metrics.face_track import TrackRules
from evalkit.metrics.official import videomae
from evalkit.metrics.official.i3d import I3D
from evalkit.metrics.official.i3d_script import ScriptedI3D
from evalkit.metrics.official.inception import Inception
from evalkit.metrics.official.loading import empty, load_strict
from evalkit.metrics.official.reencode import CropRecoder, FrameRecoder
from evalkit.metrics.official.s3fd import S3FD
from evalkit.metrics.official_clips import WindowStream
from evalkit.metrics.official_sync import LipEmbedder, TrackedSyncStream
from evalkit.metrics.sync_distance import window_count
from evalkit.metrics.syncnet import SyncNet, nano_syncnet, official_syncnet
from evalkit.metrics.template import TemplateTracker
from evalkit.metrics.training.coded import write_video
from evalkit.metrics.weights import WeightsError
from tests.evalkit import metric_goldens as golden
from tests.evalkit.official_files import forget_published_digests, official_setup, put, random_like

FRAMES = 8


def pictures(count: int = FRAMES, height: int = 72, width: int = 56) -> np.ndarray:
    """A smooth scene that moves a little."""
    y, x, t = np.mgrid[:height, :width, :count].astype(float)
    waves = [128 + 90 * np.sin((x + shift * t) / 9 + y / 13 + shift) for shift in (1, 2, 3)]
    return np.stack(waves, -1).transpose(2, 0, 1, 3).astype(np.uint8)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("official") / "clip.mp4"
    voice = (6000 * np.random.default_rng(0).normal(size=FRAMES * 640)).astype(np.int16)
    write_video(path, pictures(), voice)
    return path


def test_syncnet_from_official_files_scores_a_face_crop(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_published_digests(monkeypatch)
    put(tmp_path, "syncnet", "syncnet_v2.model", random_like(empty(SyncNet, official_syncnet())))
    put(tmp_path, "syncnet", "sfd_face.pth", random_like(empty(S3FD)))
    setup = official_setup(tmp_path)
    features = extract(video, SimpleNamespace(), ["syncnet_wholeframe"], setup=setup)
    metric = get_metric("sync_c_wholeframe", setup)
    score = metric.score(features, SimpleNamespace())
    assert features["syncnet_wholeframe"]["video"].shape == (window_count(FRAMES, FRAMES * 640), 1024)
    assert score.value is not None
    assert score.details["protocol"] == "sync_wholeframe"
    assert metric.backbone.kind == "official"
    assert len(metric.backbone.digest or "") == 64
    assert metric.backbone.protocol["crop"] == "none"


@golden.needs_goldens
def test_fid_features_come_from_the_official_file(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_published_digests(monkeypatch)
    put(tmp_path, "inception", "pt_inception-2015-12-05-6726825d.pth", random_like(empty(Inception)))
    setup = official_setup(tmp_path)
    metric = get_metric("fid", setup)
    assert metric.extractors == ("inception",)
    features = extract(video, SimpleNamespace(), metric.extractors, setup=setup)
    assert features["inception"]["features"].shape == (FRAMES - 1, 2048)
    score = metric.score({"a": features}, {"a": features})
    assert score.value == pytest.approx(0, abs=1e-6 * sum(score.details["traces"]) + 1e-9)
    assert score.details["is_rank_deficient"]
    assert score.details["relative_only"] == "7 pictures instead of at least 2048"


class Scripted(torch.nn.Module):
    """A stand-in with the published file's declaration around our I3D."""

    def __init__(self, network: torch.jit.ScriptModule):
        super().__init__()
        self.network = network

    def forward(
        self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> torch.Tensor:
        y = x.float()
        if rescale:
            y = y / 255.0 * 2.0 - 1.0
        if resize:
            b, c, t, h, w = y.shape
            flat = y.permute(0, 2, 1, 3, 4).reshape(b * t, c, h, w)
            flat = torch.nn.functional.interpolate(flat, size=[224, 224], mode="bilinear", align_corners=False)
            y = flat.reshape(b, t, c, 224, 224).permute(0, 2, 1, 3, 4)
        return self.network(y)


@golden.needs_goldens
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
@torch.inference_mode()
def test_the_torchscript_of_i3d_is_called_as_published(tmp_path: Path) -> None:
    layout, facts = golden.facts("i3d_layout"), golden.facts("i3d_random")
    network = load_strict(empty(I3D), golden.filled_by_name(golden.shapes_of(layout["keys"]), facts["seed"]), "I3D")
    expected = load_file(golden.FOLDER / "i3d_random.safetensors")
    clip = expected["in.clip_a"]
    traced = torch.jit.trace(network, torch.zeros(1, 3, clip.shape[1], 224, 224), check_trace=False)
    torch.jit.script(Scripted(traced)).save(str(tmp_path / "i3d_torchscript.pt"))
    loaded = ScriptedI3D(tmp_path / "i3d_torchscript.pt")
    made = loaded(clip.permute(1, 2, 3, 0).numpy())
    assert golden.relative_error(made, expected["out.clip_a.squash.logits"].numpy()) < 5e-5
    with pytest.raises(ValueError, match=r"0\.\.255"):
        loaded(np.random.default_rng(0).random((16, 8, 8, 3)))
    with pytest.raises(ValueError, match="at least 9"):
        loaded(np.zeros((8, 8, 8, 3), np.uint8))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_another_script_or_no_script_is_refused(tmp_path: Path) -> None:
    class Wrong(torch.nn.Module):
        def forward(self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
            return torch.zeros(1, 400, 7, 7)

    torch.jit.script(Wrong()).save(str(tmp_path / "wrong.pt"))
    with pytest.raises(WeightsError, match=r"\(1, 400, 7, 7\) instead of \(1, 400\)"):
        ScriptedI3D(tmp_path / "wrong.pt")(np.zeros((9, 8, 8, 3), np.uint8))
    (tmp_path / "text.pt").write_text("no script")
    with pytest.raises(WeightsError, match="no TorchScript"):
        ScriptedI3D(tmp_path / "text.pt")


def test_windows_begin_after_the_first_picture_and_do_not_overlap() -> None:
    seen: list[list[int]] = []

    def network(clip: np.ndarray) -> np.ndarray:
        seen.append(clip[:, 0, 0, 0].tolist())
        return np.zeros(3, np.float32)

    stream = WindowStream(network, 3, has_long=True)
    frames = np.arange(140, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    for start in range(0, 140, 7):
        stream.frames(frames[start : start + 7], np.zeros(7))
    arrays = stream.finish()
    assert arrays["windows"].shape == (8, 3)
    assert arrays["starts"].tolist() == [1, 17, 33, 49, 65, 81, 97, 113]
    assert arrays["long"].shape == (1, 3)
    assert list(range(1, 17)) in seen
    assert list(range(1, 128, 8)) in seen


@torch.inference_mode()
def test_videomae_has_the_published_size_and_reads_a_wrapped_file(tmp_path: Path) -> None:
    whole = empty(videomae.VideoMae, videomae.vit_g())
    assert 2 * sum(parameter.numel() for parameter in whole.parameters()) == pytest.approx(2.0e9, rel=0.02)
    tiny = videomae.VideoMaeConfig(width=32, layers=2, heads=4, inner=64, size=28, frames=4)
    state = random_like(empty(videomae.VideoMae, tiny))
    network = load_strict(empty(videomae.VideoMae, tiny), videomae.without_head({**state, "head.bias": torch.zeros(3)}), "V")
    clips = torch.rand(2, 3, 4, 28, 28)
    out = network(clips)
    assert out.shape == (2, 32)
    torch.testing.assert_close(network(clips[1:])[0], out[1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(network(clips.flip(2))[0], out[0], atol=1e-3)  # order in time counts
    table = videomae.positions(5, 6)[0]
    assert table[3, 2] == pytest.approx(np.sin(3 / 10000 ** (2 / 6)))
    assert table[3, 3] == pytest.approx(np.cos(3 / 10000 ** (2 / 6)))
    prepared = videomae.prepare(np.full((16, 30, 20, 3), 255, np.uint8))
    assert prepared.shape == (3, 16, 224, 224)
    assert float(prepared.max()) == pytest.approx(1)


class KnownFaces(Detector):
    """Faces where the test says, at the usual scale or only at a finer one."""

    scales = (0.25, 0.5)

    def __init__(self, boxes: dict[int, list[list[float]]], visible_at: float = 0.25):
        self.boxes, self.visible_at, self.number, self.looks = boxes, visible_at, -1, []

    @property
    def backbone(self) -> Backbone:
        return Backbone("known", None, "none")

    def detect(self, picture: np.ndarray, scale: float = 0.25) -> np.ndarray:
        self.number += scale == self.scales[0]
        self.looks.append(scale)
        rows = self.boxes.get(self.number, []) if scale >= self.visible_at else []
        return np.array([[*box, 1.0] for box in rows]).reshape(-1, 5)


def small_lips() -> LipEmbedder:
    """The nano network behind the official pipeline: crops shrunk, so that the test stays quick."""
    torch.manual_seed(0)
    network = SyncNet(nano_syncnet()).eval()
    embedder = LipEmbedder(network, torch.device("cpu"))

    def embed(crops: np.ndarray) -> np.ndarray:
        small = torch.from_numpy(np.ascontiguousarray(crops[:, ::6, ::4])).permute(3, 0, 1, 2).float()[None, :, :, :36]
        with torch.inference_mode():
            return network.lip(torch.nn.functional.pad(small / 128 - 1, (0, 0, 0, 0)))[0].numpy()

    embedder.embed = embed  # type: ignore[method-assign]
    return embedder


def run_tracks(detector: Detector, frames: np.ndarray, sample: object, piece: int = 7, **rules: float) -> dict:
    clip = Clip(frames.shape[2], frames.shape[1], 25.0, True, sample)
    limits = TrackRules(min_track=int(rules.get("min_track", 20)), min_face_px=rules.get("min_face_px", 30.0))
    stream = TrackedSyncStream(small_lips(), detector, clip, limits, small_face_px=10.0)
    most = 0
    for start in range(0, len(frames), piece):
        stream.frames(frames[start : start + piece], np.zeros(piece))
        most = max(most, len(stream._pictures))
    stream.audio(np.random.default_rng(1).normal(size=len(frames) * 640).astype(np.float32) / 8)
    return {**stream.finish(), "most_pictures": most}


def test_the_longest_track_wins_and_its_windows_begin_where_it_does() -> None:
    frames = pictures(90, 96, 128)
    short = {n: [[70.0, 10, 110, 50]] for n in range(5, 35)}
    long = {n: [[8.0, 8, 60, 70]] for n in range(20, 90) if n not in (40, 41, 42)}
    detector = KnownFaces({n: short.get(n, []) + long.get(n, []) for n in range(90)})
    arrays = run_tracks(detector, frames, SimpleNamespace())
    assert int(arrays["first_frame"]) == 20
    assert float(arrays["coverage"]) == pytest.approx(70 / 90)
    assert len(arrays["video"]) == len(arrays["audio"]) == window_count(70, 70 * 640)
    assert int(arrays["faces"]) == 2
    assert arrays["tracks"][:, :3].tolist() == [[20, 70, 67], [5, 30, 30]]
    assert str(arrays["face_source"]) == "S3FD at 0.25"
    assert arrays["most_pictures"] <= 25 + 13 + 7  # a gap, the median's window, a piece
    again = run_tracks(KnownFaces(detector.boxes), frames, SimpleNamespace(), piece=90)
    np.testing.assert_allclose(arrays["video"], again["video"], atol=1e-4)


def test_small_and_far_faces_are_found_at_a_finer_scale_and_said_so() -> None:
    frames = pictures(40, 96, 128)
    detector = KnownFaces({n: [[40.0, 30, 56, 50]] for n in range(40)}, visible_at=0.5)
    arrays = run_tracks(detector, frames, SimpleNamespace())
    assert str(arrays["face_source"]) == "S3FD at 0.5"
    assert int(arrays["finer_looks"]) == detector.looks.count(0.5) == 40
    assert float(arrays["coverage"]) == 1
    large = KnownFaces({n: [[8.0, 8, 60, 70]] for n in range(30) if n % 3 == 0})
    assert int(run_tracks(large, frames, SimpleNamespace(), min_track=5)["finer_looks"]) == 0  # gaps are no reason


def test_without_any_face_the_manifests_box_is_followed_or_nothing_is_scored() -> None:
    frames = pictures(40, 96, 128)
    sample = SimpleNamespace(face_box=(0.3, 0.2, 0.6, 0.7))
    arrays = run_tracks(KnownFaces({}), frames, sample)
    assert str(arrays["face_source"]) == "manifest"
    assert len(arrays["video"]) == window_count(40, 40 * 640)
    nothing = run_tracks(KnownFaces({}), frames, SimpleNamespace())
    assert len(nothing["video"]) == 0
    score = get_metric("sync_c").score({"syncnet": nothing}, SimpleNamespace())
    assert (score.value, score.reason) == (None, "no_face_track")
    assert score.details["coverage"] == 0


def test_a_box_is_followed_where_its_looks_go() -> None:
    rng = np.random.default_rng(0)
    patch = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
    tracker = TemplateTracker((40 / 200, 30 / 150, 70 / 200, 70 / 150))
    for step in range(12):
        picture = np.full((150, 200, 3), 90, np.uint8)
        left, top = 40 + 3 * step, 30 + 2 * step
        picture[top : top + 40, left : left + 30] = patch
        box = tracker.push(picture)
    assert box[:2] == pytest.approx([73, 52], abs=3)


def test_reencoding_returns_every_picture_and_changes_it_a_little() -> None:
    frames = pictures(9, 64, 48)
    for chain, given in ((FrameRecoder(), [frames[:4], frames[4:]]), (CropRecoder(), list(frames))):
        out = [picture for part in given for picture in chain.push(part)]
        out += chain.flush()
        assert len(out) == 9
        error = np.abs(np.stack(out).astype(float) - frames).mean()
        assert 0.1 < error < 6


def test_a_network_is_chosen_by_what_is_there_and_what_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto, official = MetricSetup("auto", str(tmp_path)), MetricSetup("official", str(tmp_path))
    assert kind_of("syncnet", auto) == "nano"
    assert get_metric("fid", auto).extractors == ("image",)
    with pytest.raises(WeightsError, match="evalkit weights get syncnet"):
        kind_of("syncnet", official)
    with pytest.raises(WeightsError, match="evalkit weights get inception"):
        kind_of("inception_clean", NANO)
    assert kind_of("mouth", official) == "nano"  # there is no official readout of a mouth
    assert kind_of("pixels", official) == "none"
    forget_published_digests(monkeypatch)
    put(tmp_path, "inception", "pt_inception-2015-12-05-6726825d.pth", {"a": torch.zeros(1)})
    assert kind_of("inception", auto) == "official"
    assert get_metric("kid", auto).extractors == ("inception",)
    with pytest.raises(WeightsError, match="--backbones auto"):
        kind_of("inception", MetricSetup("nano", str(tmp_path)))
    assert backbone_of("inception", auto).protocol["input"] == "fid_pytorch"
    assert backbone_of("inception_clean", auto).digest == backbone_of("inception", auto).digest
