"""Running deployed code: the host and its sandbox, the connection of servers to it, archives and their unpacking."""
