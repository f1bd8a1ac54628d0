"""Runs inside a CosyVoice checkout's own Python: one model, job lines in, WAV files and answer lines out.

Not imported by genbench, and imports nothing of it: that Python is another one (3.10) with other packages. Started as
`python cosyvoice_worker.py`; the first line read is the set-up, each further one a job; every answer is one line of JSON.
"""

import contextlib
import inspect
import json
import os
import subprocess
import sys
import wave

SYSTEM = "You are a helpful assistant."
END = "<|endofprompt|>"


def main():
    """Answers go to the stdout that was there at the start; whatever else the packages print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    setup = json.loads(sys.stdin.readline())
    try:
        model = load(setup)
        answer = {
            "ready": True,
            "class": type(model).__name__,
            "sample_rate": int(model.sample_rate),
            "commit": commit(setup),
        }
    except Exception as error:
        answer = {"ready": False, "error": f"{type(error).__name__}: {error}"}
        model = None
    tell(answers, answer)
    for line in sys.stdin if model is not None else ():
        job = json.loads(line)
        try:
            answer = speak(model, job)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        tell(answers, {"id": job["id"], **answer})


def load(setup):
    """The checkout's model. Refuses checkouts from before the prompt clip became a path."""
    if not os.path.isdir(setup["model_dir"]):
        raise FileNotFoundError(f"{setup['model_dir']} is no folder; CosyVoice would start a download")
    sys.path[:0] = [setup["checkout"], os.path.join(setup["checkout"], "third_party", "Matcha-TTS")]
    from cosyvoice.cli.cosyvoice import AutoModel

    model = AutoModel(model_dir=setup["model_dir"])
    names = list(inspect.signature(model.inference_zero_shot).parameters)
    if names[2:3] != ["prompt_wav"]:
        raise RuntimeError(
            f"this checkout takes {names[2:3]} where newer ones take prompt_wav; update it to December 2025 or later"
        )
    return model


def speak(model, job):
    """Speak one text; the WAV holds int16 samples at the model's rate."""
    with contextlib.suppress(ImportError):
        from cosyvoice.utils.common import set_all_random_seed

        set_all_random_seed(job["seed"])
    pieces = [item["tts_speech"] for item in call(model, job)]
    if not pieces:
        raise RuntimeError("the model gave no sound; the text may hold no words")
    samples = b"".join((piece[0].clamp(-1, 1) * 32767).round().cpu().numpy().astype("<i2").tobytes() for piece in pieces)
    with wave.open(job["out"], "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(int(model.sample_rate))
        file.writeframes(samples)
    return {"samples": len(samples) // 2, "rate": int(model.sample_rate), "segments": len(pieces)}


def call(model, job):
    """The generator of pieces, by the form of text that each version wants; never streaming, which can wait for ever."""
    version = {"CosyVoice2": 2, "CosyVoice3": 3}.get(type(model).__name__, 1)
    options = {"stream": False, "speed": 1.0, "text_frontend": bool(job["text_frontend"])}
    if job.get("instruction") and version > 1:
        instruction = f"{SYSTEM} {job['instruction']}{END}" if version == 3 else f"{job['instruction']}{END}"
        return model.inference_instruct2(job["text"], instruction, job["prompt_wav"], **options)
    transcript = f"{SYSTEM}{END}{job['prompt_text']}" if version == 3 else job["prompt_text"]
    return model.inference_zero_shot(job["text"], transcript, job["prompt_wav"], **options)


def commit(setup):
    """The checkout's commit, if it is a git folder."""
    found = subprocess.run(
        ["git", "-C", setup["checkout"], "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() if found.returncode == 0 else ""


def tell(answers, record):
    answers.write(json.dumps(record) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
