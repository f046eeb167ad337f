"""``python -m shoal``: the command line, for where the ``shoal`` script is not on PATH."""

from .cli import main

if __name__ == "__main__":
    main()
