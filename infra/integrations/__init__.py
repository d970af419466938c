"""What integrations need: the catalog's folders, JSON Schema, authorization servers."""
