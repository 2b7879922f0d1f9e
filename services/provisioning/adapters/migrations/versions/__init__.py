"""The steps. Each names the one before it in `down_revision`."""
