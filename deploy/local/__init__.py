"""A cluster on one machine, for trying it: `make cluster`, or `python -m deploy.local`."""
