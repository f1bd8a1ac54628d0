"""genbench makes test sets and training shards for talking characters: pictures, voices, prompts and their truth.

The nano world in `genbench.world` is drawn by our own code, so every frame comes with the mouth, pose and phonemes that
made it. Nothing heavy is imported here; import the module you need.
"""

__version__ = "0.1.0"
