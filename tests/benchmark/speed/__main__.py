"""``python -m speed``; see ``measuring``. Child processes cannot import a ``__main__``."""

from speed.measuring import main

main()
