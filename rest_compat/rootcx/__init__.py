"""RootCX Core: its routes as documents, and its dialect."""
