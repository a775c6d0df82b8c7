"""What fewer tokens save: operations, memory."""
