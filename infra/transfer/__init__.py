"""Records on their way out and in: formats that take a library, and sending what is made meanwhile."""
