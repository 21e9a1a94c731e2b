"""`python -m lodeline` is the `lodeline` command."""

import sys

from lodeline.cli.main import main

sys.exit(main())
