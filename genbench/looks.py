"""Words for the pictures of real generators: who is shown, where, and the plain prompt made of them. Data and templates."""

from __future__ import annotations

AGES = ("young adult", "middle-aged", "elderly")
EMOTIONS = ("neutral", "happy", "serious", "surprised", "sad", "excited")
LOOKS: dict[str, tuple[str, ...]] = {
    # What is kept balanced within a style: heritage of people, manner of drawing, kind of creature.
    "photo": ("East Asian", "Black", "white European", "South Asian", "Latin American", "Middle Eastern"),
    "cartoon": (
        "3D animated film", "hand-drawn anime", "watercolour storybook", "comic book", "stop-motion clay", "flat vector",
    ),
    "animal": ("fox", "brown bear", "barn owl", "tabby cat", "rabbit", "friendly robot"),
}  # fmt: skip
SCENES = (
    "in a bright kitchen", "in a library with tall shelves", "on a quiet beach at sunset", "in a small recording studio",
    "in front of a plain grey backdrop", "in a garden in spring", "in a modern office", "at a market stall",
    "in a workshop full of tools", "on a snowy street in the evening", "in a lecture hall", "in a cosy living room",
)  # fmt: skip

_FRAMINGS = {
    "head": "head-and-shoulders portrait", "half_body": "half-body shot from the waist up",
    "full_body": "full-body shot from head to feet",
}  # fmt: skip
_VIEWS = {
    "frontal": "facing the camera", "profile": "seen in profile, the face turned to the side, the mouth clearly visible",
}  # fmt: skip
_MOODS = {
    "neutral": "a relaxed expression", "happy": "a warm smile", "serious": "a serious expression",
    "surprised": "raised eyebrows", "sad": "a thoughtful, sad expression", "excited": "a lively expression",
}  # fmt: skip


def subject(style: str, gender: str, age: str, look: str) -> str:
    """Who is shown, e.g. "an elderly South Asian woman"."""
    if style == "photo":
        return _with_article(f"{age} {look} {gender}")
    if style == "cartoon":
        return f"{_with_article(f'{age} {gender}')}, drawn in {look} style"
    return f"an anthropomorphic {look} in everyday clothes, standing upright like a person"


def portrait_prompt(style: str, framing: str, view: str, who: str, scene: str, emotion: str) -> str:
    """What an image generator is asked for: one character, the whole face in view, lips together."""
    kind = {"photo": "A photograph", "cartoon": "An illustration", "animal": "A detailed 3D rendering"}[style]
    return (
        f"{kind}: {_FRAMINGS[framing]} of {who}, {_VIEWS[view]}, with {_MOODS[emotion]} and closed lips, {scene}. "
        "Exactly one character, nothing in front of the face, even light, sharp focus, no text."
    )


def talking_prompt(who: str, scene: str, emotion: str) -> str:
    """What a talking-video method is told of the sample."""
    text = f"{who} {scene}, talking to the camera in a {emotion} tone."
    return text[:1].upper() + text[1:]


def _with_article(words: str) -> str:
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"
