"""Recipes that train the shipped nano networks on shards of the nano world.

`python -m evalkit.metrics.training NETWORK --shards DIR --minutes M --out FOLDER`
"""
