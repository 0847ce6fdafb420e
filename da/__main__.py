"""`python -m da` is `da`."""

import sys

from da.cli import main

if __name__ == "__main__":
    sys.exit(main())
