"""Weights on disk: safetensors only, checked by digest before use."""
