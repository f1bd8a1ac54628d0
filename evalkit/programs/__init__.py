"""Programs of others, run as they are: in a process group of their own, within limits, with what they print kept short."""

from evalkit.programs.running import Ended, Program, ProgramError, run_program

__all__ = ["Ended", "Program", "ProgramError", "run_program"]
