"""What phones may subscribe to, as values: RFC 6665, 4235, 3863 and 3842."""
