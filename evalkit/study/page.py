"""The rating page: one file that opens offline, with its videos inside and no method's name anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.study import CRITERIA, LEAST, MOST
from evalkit.study.design import INSTRUCTED, Study

TEMPLATES = Path(__file__).parent / "templates"
BUDGET_BYTES = 200 * 2**20
QUESTIONS = {
    "naturalness": ("Naturalness", "How natural do face, body and movement look?"),
    "synchronisation": ("Synchronisation", "How well do lips, expression and gestures go with the voice?"),
    "consistency": ("Consistency", "How well does the person stay the one in the picture, from beginning to end?"),
}


def render_page(study: Study, videos: Mapping[str, Path], pictures: Mapping[str, Path]) -> str:
    """The page's text. videos: by clip id. pictures: the reference picture by sample.

    Raises EvalkitError when the videos are too large for one page.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    whole = sum(path.stat().st_size for path in videos.values())
    if whole > BUDGET_BYTES:
        raise EvalkitError(
            f"the videos of this study have {whole / 2**20:.0f} MiB, one page takes {BUDGET_BYTES / 2**20:.0f}: "
            "choose fewer with --methods or --limit"
        )
    script, style = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        study=study,
        data=_embedded(page_data(study, videos, pictures)),
        script=script,
        style=style,
        script_digest=_digest(script),
        style_digest=_digest(style),
        questions=[(name, *QUESTIONS[name]) for name in CRITERIA],
        scale=range(LEAST, MOST + 1),
    )


def page_data(study: Study, videos: Mapping[str, Path], pictures: Mapping[str, Path]) -> dict[str, Any]:
    """What the page's script works on. Clips are listed by their ids, whose order says nothing."""
    samples = list(dict.fromkeys(one.sample for one in study.clips))
    return {
        "study": study.id,
        "criteria": list(CRITERIA),
        "clips": {
            one.id: {
                "video": _uri(videos[one.id], "video/mp4"),
                "picture": samples.index(one.sample),
            }
            for one in sorted(study.clips, key=lambda clip: clip.id)
        },
        "pictures": [_uri(pictures[sample], "image/png") for sample in samples],
        # Listed in an order of its own, so that checks and repeated pairs do not stand at the end.
        "trials": [
            {"id": one.id, "clips": list(one.clips), "instructed": one.kind == INSTRUCTED}
            for one in random.Random(study.id).sample(study.trials, k=len(study.trials))
        ],
    }


def _embedded(data: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(data).replace("<", "\\u003c")


def _uri(path: Path, media: str) -> str:
    return f"data:{media};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
