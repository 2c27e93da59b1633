"""``python -m skyfold`` is the ``skyfold`` command."""

from skyfold.cli import main

raise SystemExit(main())
