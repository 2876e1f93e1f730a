"""``python -m spine_monai.cli``."""

import sys

from spine_monai.cli import main

if __name__ == "__main__":
    sys.exit(main())
