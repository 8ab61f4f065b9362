"""`python -m curriculum`: the command line, where the folder of scripts is not on the PATH."""

from __future__ import annotations

from curriculum.cli import main

if __name__ == "__main__":
    main()
