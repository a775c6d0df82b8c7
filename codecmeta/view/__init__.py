"""What a person looks at: facts, pictures, pages."""
