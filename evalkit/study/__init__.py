"""The user study (the paper's Table 5): a page on which people rate clips blindly, and the table of their answers."""

CRITERIA = ("naturalness", "synchronisation", "consistency")
LEAST, MOST = 1, 5
"""The scale on the page; scores are laid on 0 to 100."""
