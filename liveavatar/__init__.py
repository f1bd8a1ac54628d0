"""Live Avatar: a picture and a voice in, an endless real-time stream of talking video out (arXiv 2512.04677)."""

__version__ = "0.1.0"
