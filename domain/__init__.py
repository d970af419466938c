"""The business: what Stoa does, free of how it is asked."""
