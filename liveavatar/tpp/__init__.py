"""Timestep-forcing Pipeline Parallelism (paper section 4.3, Algorithm 4): a rollout's steps over several devices.

Which device does what is a `Layout`; what comes out is the same to the bit for every one of them.
"""
