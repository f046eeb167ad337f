"""What an application would serve and what is odd about it, behind ``shoal check``.

Serves nothing, and prints nothing.
"""

from .report import Report, examine

__all__ = ["Report", "examine"]
