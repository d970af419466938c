"""Words every area shares: refusals, ids, the context of an operation, pages, events."""
