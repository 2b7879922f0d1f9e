"""How Tandem is put on machines: one machine for trying it, Kubernetes, images."""
