"""`python -m geojax.cli`, for where the command is not on the path."""

import sys

from geojax.cli.app import main

sys.exit(main())
