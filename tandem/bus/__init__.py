"""The bus that joins the services: topics, an envelope, ports, and what travels on it."""
