"""evalkit runs talking-video systems over test sets, measures them and writes tables that can be trusted.

Nothing heavy is imported here; `python -m evalkit --help` shows the way in.
"""

__version__ = "0.1.0"
