"""`python -m lora_slim` is the program `lora-slim`."""

import sys

from ._program import main

sys.exit(main())
