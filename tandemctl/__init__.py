"""The operator's command line, on gRPC."""
