"""What registering at somebody's provider is made of, without I/O or clock."""
