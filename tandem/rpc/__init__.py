"""What services ask each other for."""
