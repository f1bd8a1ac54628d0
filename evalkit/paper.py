"""The paper's own numbers (arXiv 2512.04677, version 1) as data, printed beside ours and marked as the paper's."""

from __future__ import annotations

from dataclasses import dataclass

SHORT, LONG, IN_DOMAIN = "genbench_short", "genbench_long", "genbench_in_domain"

_TABLE_2 = ("ase", "iqa", "sync_c", "sync_d", "dino_s", "fps")
_TABLE_3 = ("devices", "nfe", "fps_predicted", "ttff_predicted")
_TABLE_4 = ("ase", "iqa", "sync_c", "dino_s")
_TABLE_6 = ("ase", "iqa", "sync_c", "sync_d", "dino_s", "fps", "ttff")
_TABLE_7 = _TABLE_4
_TABLE_8 = ("fid", "fvd", "ase", "iqa", "sync_c", "sync_d", "dino_s", "fps")


@dataclass(frozen=True)
class PaperRow:
    """One row of one of the paper's tables."""

    table: str
    dataset: str
    method: str
    metrics: tuple[str, ...]
    values: tuple[float, ...]


PAPER_ROWS = (
    PaperRow("Table 2", SHORT, "ditto", _TABLE_2, (3.31, 4.24, 4.09, 10.76, 0.99, 21.80)),
    PaperRow("Table 2", SHORT, "echomimic_v2", _TABLE_2, (2.82, 3.61, 5.57, 9.13, 0.79, 0.53)),
    PaperRow("Table 2", SHORT, "hallo3", _TABLE_2, (3.12, 3.97, 4.74, 10.19, 0.94, 0.26)),
    PaperRow("Table 2", SHORT, "stableavatar", _TABLE_2, (3.52, 4.47, 3.42, 11.33, 0.93, 0.64)),
    PaperRow("Table 2", SHORT, "omniavatar", _TABLE_2, (3.53, 4.49, 6.77, 8.22, 0.95, 0.16)),
    PaperRow("Table 2", SHORT, "wan_s2v", _TABLE_2, (3.36, 4.29, 5.89, 9.08, 0.95, 0.25)),
    PaperRow("Table 2", SHORT, "live_avatar", _TABLE_2, (3.44, 4.35, 5.69, 9.13, 0.95, 20.88)),
    PaperRow("Table 2", LONG, "ditto", _TABLE_2, (2.90, 4.48, 3.98, 10.57, 0.98, 21.80)),
    PaperRow("Table 2", LONG, "hallo3", _TABLE_2, (2.65, 4.04, 6.18, 9.29, 0.83, 0.26)),
    PaperRow("Table 2", LONG, "stableavatar", _TABLE_2, (3.00, 4.66, 1.97, 13.57, 0.94, 0.64)),
    PaperRow("Table 2", LONG, "omniavatar", _TABLE_2, (2.36, 2.86, 8.00, 7.59, 0.66, 0.16)),
    PaperRow("Table 2", LONG, "wan_s2v", _TABLE_2, (2.63, 3.99, 6.04, 9.12, 0.80, 0.25)),
    PaperRow("Table 2", LONG, "live_avatar", _TABLE_2, (3.38, 4.73, 6.28, 8.81, 0.94, 20.88)),
    PaperRow("Table 3", LONG, "live_avatar_clean_kv", _TABLE_3, (2, 5, 4.26, 3.88)),
    PaperRow("Table 3", LONG, "live_avatar_sp4", _TABLE_3, (5, 5, 5.01, 3.24)),
    PaperRow("Table 3", LONG, "live_avatar_no_vae_parallel", _TABLE_3, (4, 4, 10.16, 4.73)),
    PaperRow("Table 3", LONG, "live_avatar_no_dmd", _TABLE_3, (2, 80, 0.29, 45.50)),
    PaperRow("Table 3", LONG, "live_avatar", _TABLE_3, (5, 4, 20.88, 2.89)),
    # Table 4 names no set; its last row agrees with the long clips of Table 2.
    PaperRow("Table 4", LONG, "live_avatar_no_aas", _TABLE_4, (3.13, 4.44, 6.25, 0.91)),
    PaperRow("Table 4", LONG, "live_avatar_no_rolling_rope", _TABLE_4, (3.38, 4.71, 6.29, 0.86)),
    PaperRow("Table 4", LONG, "live_avatar_no_history_corrupt", _TABLE_4, (2.90, 3.88, 6.14, 0.81)),
    PaperRow("Table 4", LONG, "live_avatar", _TABLE_4, (3.38, 4.73, 6.28, 0.93)),
    PaperRow("Table 6", SHORT, "live_avatar_clean_kv", _TABLE_6, (3.26, 4.01, 5.69, 9.53, 0.93, 5.01, 3.24)),
    PaperRow("Table 6", SHORT, "live_avatar", _TABLE_6, (3.44, 4.35, 5.62, 9.13, 0.95, 20.88, 2.89)),
    PaperRow("Table 6", LONG, "live_avatar_clean_kv", _TABLE_6, (3.05, 4.44, 6.11, 9.10, 0.90, 5.01, 3.24)),
    PaperRow("Table 6", LONG, "live_avatar", _TABLE_6, (3.38, 4.73, 6.28, 8.81, 0.94, 20.88, 2.89)),
    PaperRow("Table 7", "stress_0_10", "live_avatar", _TABLE_7, (3.37, 4.72, 6.20, 0.94)),
    PaperRow("Table 7", "stress_100_110", "live_avatar", _TABLE_7, (3.38, 4.71, 6.44, 0.93)),
    PaperRow("Table 7", "stress_1000_1010", "live_avatar", _TABLE_7, (3.37, 4.69, 5.98, 0.93)),
    PaperRow("Table 7", "stress_10000_10010", "live_avatar", _TABLE_7, (3.38, 4.71, 6.26, 0.93)),
    PaperRow("Table 8", IN_DOMAIN, "ditto", _TABLE_8, (46.27, 660.01, 2.21, 3.75, 4.84, 9.05, 0.99, 21.80)),
    PaperRow("Table 8", IN_DOMAIN, "echomimic_v2", _TABLE_8, (176.74, 2059.81, 1.88, 3.29, 4.07, 9.38, 0.78, 0.53)),
    PaperRow("Table 8", IN_DOMAIN, "hallo3", _TABLE_8, (138.40, 1412.93, 1.87, 3.35, 4.50, 9.99, 0.93, 0.26)),
    PaperRow("Table 8", IN_DOMAIN, "stableavatar", _TABLE_8, (98.32, 730.12, 2.14, 3.55, 5.72, 9.01, 0.93, 0.64)),
    PaperRow("Table 8", IN_DOMAIN, "omniavatar", _TABLE_8, (50.42, 570.32, 2.16, 3.68, 6.04, 8.37, 0.95, 0.16)),
    PaperRow("Table 8", IN_DOMAIN, "wan_s2v", _TABLE_8, (73.68, 642.48, 2.20, 3.71, 4.90, 9.02, 0.95, 0.25)),
    PaperRow("Table 8", IN_DOMAIN, "live_avatar", _TABLE_8, (64.00, 532.52, 2.29, 3.84, 4.64, 9.35, 0.95, 20.88)),
)

_VALUES = {
    (row.table, row.dataset, row.method, metric): value
    for row in PAPER_ROWS
    for metric, value in zip(row.metrics, row.values, strict=True)
}


def paper_value(table: str, dataset: str, method: str, metric: str) -> float | None:
    """The number the paper printed there, or None."""
    return _VALUES.get((table, dataset, method, metric))
