"""`python -m services.local` is `tandem`."""

from services.local.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
