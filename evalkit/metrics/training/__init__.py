"""Recipes that train the shipped nano networks on shards of the nano world.

`python -m evalkit.metrics.training mouth|syncnet|image_encoder --shards DIR --minutes M --out FOLDER`
"""
