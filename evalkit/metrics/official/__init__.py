"""The published networks behind published numbers: their layouts, loaders and input protocols, without their weights.

Pure tensor code and readers of local files. Nothing here reaches the network or knows where weights are kept.
"""
