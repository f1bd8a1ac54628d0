"""`python -m liveavatar`: see `liveavatar.cli`."""

from liveavatar.cli import main

raise SystemExit(main())
