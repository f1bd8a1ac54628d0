"""What official weights there are: files, sizes, sha256 where it is known, where they come from, under which licence.

None of them is shipped. A digest that is None is not published anywhere we could check: it is pinned when the file is
first fetched or first used, and a later change is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from evalkit.names import unknown

HUB = "https://huggingface.co"
VGG = "https://www.robots.ox.ac.uk/~vgg/software/lipsync/data"


@dataclass(frozen=True)
class WeightsFile:
    """A file of an entry; several addresses hold the same bytes and are tried in turn."""

    name: str
    addresses: tuple[str, ...]
    bytes: int | None = None
    sha256: str | None = None
    is_optional: bool = False


@dataclass(frozen=True)
class OfficialWeights:
    """One network: `files`, or a whole hub repository. `used_by` are metrics, `source` says where to read about it."""

    id: str
    title: str
    licence: str
    used_by: tuple[str, ...]
    source: str
    files: tuple[WeightsFile, ...] = ()
    hub_id: str = ""
    about_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """All known sizes together; for a hub repository the stated size."""
        return sum(file.bytes or 0 for file in self.files if not file.is_optional) or self.about_bytes


OFFICIAL_WEIGHTS: dict[str, OfficialWeights] = {
    one.id: one
    for one in (
        OfficialWeights(
            "syncnet",
            "SyncNet and the S3FD face detector of its pipeline",
            "code MIT; weights: research, see their page",
            ("sync_c", "sync_d", "sync_offset"),
            "https://www.robots.ox.ac.uk/~vgg/software/lipsync/",
            (
                WeightsFile(
                    "syncnet_v2.model",
                    (
                        f"{VGG}/syncnet_v2.model",
                        f"{HUB}/ByteDance/LatentSync-1.5/resolve/main/checkpoints/auxiliary/syncnet_v2.model",
                    ),
                    54_573_114,
                    "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
                ),
                WeightsFile(
                    "sfd_face.pth",
                    (
                        f"{VGG}/sfd_face.pth",
                        f"{HUB}/ByteDance/LatentSync-1.5/resolve/main/checkpoints/auxiliary/sfd_face.pth",
                    ),
                    89_844_381,
                    "d54a87c2b7543b64729c9a25eafd188da15fd3f6e02f0ecec76ae1b30d86c491",
                ),
                WeightsFile(
                    "example.avi",
                    (f"{VGG}/example.avi",),
                    None,
                    "1724121b3a50141cfc9e77c034f7de914024d015b92762ae12d3e1a7151b8621",
                    is_optional=True,
                ),
            ),
        ),
        OfficialWeights(
            "inception",
            "Inception-v3 of FID (TensorFlow 2015-12-05) as a state dict",
            "Apache-2.0",
            ("fid", "kid", "fid_clean", "fid_tf"),
            "https://github.com/mseitzer/pytorch-fid",
            (
                WeightsFile(
                    "pt_inception-2015-12-05-6726825d.pth",
                    (
                        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
                        "pt_inception-2015-12-05-6726825d.pth",
                        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
                        "weights-inception-2015-12-05-6726825d.pth",
                    ),
                    95_628_359,
                    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
                ),
            ),
        ),
        OfficialWeights(
            "inception_torchscript",
            "The same Inception-v3 as TorchScript",
            "see NVIDIA's terms",
            (),
            "https://github.com/NVlabs/stylegan2-ada-pytorch",
            (
                WeightsFile(
                    "inception-2015-12-05.pt",
                    ("https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",),
                    95_607_719,
                    "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
                ),
            ),
        ),
        OfficialWeights(
            "i3d",
            "I3D (Kinetics-400) of FVD as TorchScript",
            "not stated; the TF-Hub original is Apache-2.0",
            ("fvd", "fvd_one_clip", "fvd_long"),
            "https://github.com/universome/stylegan-v",
            (
                WeightsFile(
                    "i3d_torchscript.pt",
                    (
                        f"{HUB}/flateon/FVD-I3D-torchscript/resolve/main/i3d_torchscript.pt",
                        f"{HUB}/ByteDance/LatentSync-1.5/resolve/main/checkpoints/auxiliary/i3d_torchscript.pt",
                    ),
                    51_235_320,
                    "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
                ),
            ),
        ),
        OfficialWeights(
            "i3d_port",
            "I3D (Kinetics-400) as the state dict of VideoGPT's port; its numbers belong to epsilon 1e-5",
            "not stated; the TF-Hub original is Apache-2.0",
            (),
            "https://github.com/wilson1yan/VideoGPT",
            (WeightsFile("i3d_pretrained_400.pt", ()),),
        ),
        OfficialWeights(
            "videomae",
            "VideoMAE-v2 ViT-g (SSv2) of content-debiased FVD",
            "see the model's page",
            ("fvd_cd",),
            f"{HUB}/OpenGVLab/VideoMAE2",
            (
                WeightsFile(
                    "vit_g_hybrid_pt_1200e_ssv2_ft.pth",
                    (f"{HUB}/OpenGVLab/VideoMAE2/resolve/main/mae-g/vit_g_hybrid_pt_1200e_ssv2_ft.pth",),
                    None,
                    "5a210a92f035dff30c53b46157b612e7a1a5d3c99700e1b2d71da5c399ca7e70",
                ),
            ),
            about_bytes=2_000_000_000,
        ),
        OfficialWeights(
            "dinov2",
            "DINOv2 ViT-B/14 in the hub's layout",
            "Apache-2.0",
            ("dino_s", "identity_drift"),
            f"{HUB}/facebook/dinov2-base",
            tuple(
                WeightsFile(name, (f"{HUB}/facebook/dinov2-base/resolve/main/{name}",))
                for name in ("config.json", "model.safetensors")
            ),
            about_bytes=346_000_000,
        ),
        OfficialWeights(
            "dinov2_original",
            "DINOv2 ViT-B/14, the original checkpoint",
            "Apache-2.0",
            (),
            "https://github.com/facebookresearch/dinov2",
            (
                WeightsFile(
                    "dinov2_vitb14_pretrain.pth",
                    ("https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",),
                    346_378_731,
                    "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
                ),
            ),
        ),
        OfficialWeights(
            "qalign",
            "Q-Align (one-align), 8.2 B parameters",
            "MIT; the base model under LLaMA 2 terms",
            ("iqa", "ase"),
            f"{HUB}/q-future/one-align",
            hub_id="q-future/one-align",
            about_bytes=16_400_000_000,
        ),
    )
}


def official_weights(name: str) -> OfficialWeights:
    """The entry of that id; UnknownNameError with the nearest ids if there is none."""
    if name not in OFFICIAL_WEIGHTS:
        raise unknown("weights", name, OFFICIAL_WEIGHTS, "see: python -m evalkit weights list")
    return OFFICIAL_WEIGHTS[name]
